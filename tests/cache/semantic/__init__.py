"""The semantic tier without a model: vectors are made, texts are our own."""
