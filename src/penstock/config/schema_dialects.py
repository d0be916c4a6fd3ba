"""Which wire formats a provider may speak, and what one of the dialect kserve may say of its models' tensors."""

from typing import Literal

DialectName = Literal[
    "openai",
    "responses",
    "anthropic",
    "gemini",
    "vertex",
    "bedrock",
    "cohere",
    "stability",
    "fal",
    "replicate",
    "jina",
    "kserve",
]
TensorName = Literal[
    "input",
    "output",
    "labels",
    "threshold",
    "mime",
    "seed",
    "steps",
    "guidance",
    "width",
    "height",
    "negative_prompt",
]
