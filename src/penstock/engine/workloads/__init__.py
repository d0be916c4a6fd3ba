"""How to load, feed and run a thing: any ``nn.Module``, a diffusers pipeline, a transformers generator, the guided tour.

Owns: loading, inputs, the names of stages. Does not own: measuring, and what is done about it.
"""
