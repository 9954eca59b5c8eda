"""The networks and blocks of this package as PyTorch modules: the sources of which `model.py` is put together.

Each file is a module of Python that imports nothing but torch, and what it takes from its neighbours. The parameters
have the structural names of the Gluon networks. `..source` reads these files as text, and never imports them: PyTorch
need not be installed where MXNet is. The names `Norm`, `Join` and `Encoder` stand for what an export puts in their
place: see `slots`.
"""
