"""What an operator knows of a provider's terms: it wins over the catalogue (config.schema, the list of knobs)."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Quantization = Literal[
    "int4", "int8", "fp4", "mxfp4", "nvfp4", "fp6", "fp8", "mxfp8", "fp16", "bf16", "fp32", "unknown"
]


class DataPolicyConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a provider does with what it is sent, by your contract with it. What is left out is the catalogue's."""

    trains: Annotated[
        bool | None,
        Meta(description="It may train on requests; false passes provider.data_collection: deny."),
    ] = None
    zdr: Annotated[
        bool | None, Meta(description="It keeps nothing of a request: zero data retention, by contract.")
    ] = None
    distillable: Annotated[
        bool | None,
        Meta(description="Its answers may train other models (provider.enforce_distillable_text)."),
    ] = None
    quantizations: Annotated[
        dict[str, Quantization],
        Meta(description="Model id, * as a wildcard -> number format of the weights; the first that fits."),
    ] = field(default_factory=dict[str, Quantization])
