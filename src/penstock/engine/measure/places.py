"""Whose a line of source is: the user's own, or a library's. By its path alone; needs no torch.

Rule: what is installed or comes with Python is a library's. A trace names files from ``sys.path`` on (``diffusers/pipelines/x.py``):
there the package's name decides.
"""

import sys
import sysconfig
from functools import lru_cache

FOLDERS = ("site-packages", "dist-packages")
"""Where packages are installed."""
PACKAGES = frozenset(
    [
        "accelerate",
        "aiter",
        "apex",
        "bitsandbytes",
        "cache_dit",
        "deepspeed",
        "diffusers",
        "einops",
        "filelock",
        "flash_attn",
        "flashinfer",
        "fsspec",
        "gguf",
        "httpx",
        "huggingface_hub",
        "jinja2",
        "kernels",
        "lightning",
        "liger_kernel",
        "numpy",
        "peft",
        "PIL",
        "pydantic",
        "pytorch_lightning",
        "ray",
        "regex",
        "requests",
        "rich",
        "safetensors",
        "scipy",
        "sentence_transformers",
        "sglang",
        "sklearn",
        "timm",
        "tokenizers",
        "torch",
        "torchao",
        "torchaudio",
        "torchvision",
        "tqdm",
        "transformers",
        "triton",
        "uvicorn",
        "vllm",
        "xformers",
        "yaml",
    ]
)
"""Installed packages that are met in traces of inference. Any other name is taken for the user's."""
_STDLIB = sysconfig.get_path("stdlib").replace("\\", "/") + "/"


@lru_cache(maxsize=4096)
def in_library(path: str) -> bool:
    """Whether a file is an installed package's or Python's own. ``path`` may go on behind the file's name."""
    path = path.replace("\\", "/")
    return any(f"/{name}/" in path for name in FOLDERS) or path.startswith((_STDLIB, "<"))


@lru_cache(maxsize=65536)
def frame_in_library(name: str) -> bool:
    """The same of a frame as a trace names it: ``diffusers/image_processor.py(190): pt_to_numpy``."""
    path = name.partition("(")[0].replace("\\", "/")
    if in_library(path):
        return True
    if path.startswith("/") or path[1:3] == ":/":
        return "/lib/python3" in path
    top = path.split("/")[0].removesuffix(".py")
    return top in PACKAGES or top in sys.stdlib_module_names
