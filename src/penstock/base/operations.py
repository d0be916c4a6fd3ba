"""What may be asked of a model: the operations, a word for each, the same in code, ledger, errors and docs."""

from typing import Final, Literal

Operation = Literal["chat", "embeddings", "images", "speech", "transcriptions", "moderations", "rerank"]

CHAT: Final = "chat"
OPERATIONS: Final[tuple[Operation, ...]] = (
    "chat",
    "embeddings",
    "images",
    "speech",
    "transcriptions",
    "moderations",
    "rerank",
)
