"""What a provider of the dialect kserve may say of its models' tensors."""

from typing import Literal

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
