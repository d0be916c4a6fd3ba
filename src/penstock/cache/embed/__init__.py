"""Embedders on this machine: MiniLM through onnxruntime, and static vectors before it. Needs penstock[semantic]."""
