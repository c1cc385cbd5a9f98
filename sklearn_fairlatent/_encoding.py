"""Encoders, decoders and frames of any kind behind one interface: rows in, a float matrix out, and back."""

from typing import Any

import narwhals as nw
import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array

from ._fit_state import seeded
from ._latent import row_chunks

# Rows that pass through a torch encoder at once.
MODULE_ROWS = 128


def as_frame(X) -> Any:
    """``X`` as a narwhals frame if it is a data frame, else None."""
    native = nw.from_native(X, eager_only=True, pass_through=True)
    return native if isinstance(native, nw.DataFrame) else None


def frame_like(template, columns, rows=None):
    """A frame of the kind of ``template`` from a dict of columns, with the index of ``rows`` if that has one."""
    frame: Any = nw.from_dict(columns, backend=nw.get_native_namespace(template)).to_native()
    index = getattr(rows, "index", None)
    return frame.set_axis(index) if index is not None and hasattr(frame, "index") else frame


def column_names(X):
    """Names of the columns of a frame, else positions."""
    frame = as_frame(X)
    return list(frame.columns) if frame is not None else list(range(np.shape(X)[1]))


def take_columns(X, names):
    """The columns ``names`` of a frame or the positions ``names`` of an array, as the kind of ``X``."""
    frame = as_frame(X)
    if frame is not None:
        return frame.select([nw.col(name) for name in names]).to_native()
    return np.asarray(X)[:, names]


def is_memory_mapped(X):
    """Whether the rows of ``X`` lie in a file."""
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap):
            return True
        X = X.base
    return isinstance(X, MappedColumns)


class MappedColumns:
    """Some columns of a memory map as floats, picked and converted when rows are read, so that nothing is copied whole.

    Parameters
    ----------
    X : memory-mapped ndarray of shape (n_samples, n_columns)
    columns : list of int or None
        None: all of them.
    """

    def __init__(self, X, columns=None):
        self._X, self._columns = X, columns
        self.shape = (len(X), X.shape[1] if columns is None else len(columns))
        self.dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)

    def __len__(self):
        return len(self._X)

    def __getitem__(self, rows):
        part = np.asarray(self._X[rows])
        return (part if self._columns is None else part[:, self._columns]).astype(self.dtype)

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(dtype or self.dtype)


def column_values(X, name):
    """One column as an array."""
    frame = as_frame(X)
    return frame.get_column(name).to_numpy() if frame is not None else np.asarray(X)[:, name]


def forwards(X):
    """``X``, copied if it is a view that runs backwards, as of reversed rows, which torch does not take."""
    if isinstance(X, np.ndarray) and min(X.strides, default=0) < 0:
        return MappedColumns(X) if is_memory_mapped(X) else np.ascontiguousarray(X)
    return X


def _checked(E):
    E = check_array(E, dtype=[np.float64, np.float32], input_name="the output of encoder", ensure_min_features=1)
    return forwards(E)


class Encoding:
    """What stands between X and the invertible module.

    Parameters
    ----------
    encoder : fitted estimator with ``transform``, torch.nn.Module, skorch net, callable, or None
    decoder : estimator with ``transform``, torch.nn.Module, skorch net, callable, or None
        None: the encoder's own ``inverse_transform``, if it has one.
    """

    def __init__(self, encoder, decoder):
        self.encoder, self.decoder = encoder, decoder

    @classmethod
    def fit(cls, encoder, decoder, X, y, seed=None):
        """Clone and fit an estimator; a ``FrozenEstimator``, a network or a callable is used as it is.

        ``seed`` takes the place of every ``random_state`` of the estimator that is None.

        Returns
        -------
        encoding : Encoding
        E : ndarray of shape (n_samples, n_encoded)
            The training rows encoded, by ``fit_transform`` where there is one: as in a pipeline, an encoder may
            give its training rows other values (out of fold) than new ones.
        """
        if not hasattr(encoder, "fit") or is_network(encoder):
            encoding = cls(encoder, decoder)
            return encoding, encoding.encode(X)
        encoder = clone(encoder) if isinstance(encoder, FrozenEstimator) else seeded(encoder, seed)
        if isinstance(encoder, FrozenEstimator) or not hasattr(encoder, "fit_transform"):
            encoding = cls(encoder.fit(X, y), decoder)
            return encoding, encoding.encode(X)
        E = encoder.fit_transform(X, y)
        return cls(encoder, decoder), _checked(E)

    @property
    def can_decode(self):
        """Whether there is a way back to the space of X."""
        return self.encoder is None or self.decoder is not None or hasattr(self.encoder, "inverse_transform")

    def encode(self, X):
        """Float matrix of shape (n_samples, n_encoded)."""
        if self.encoder is None:
            return X
        module = frozen_module(self.encoder, "encoder")
        if module is not None:
            E = through_module(module, X).reshape(len(X), -1)
        elif hasattr(self.encoder, "transform"):
            E = self.encoder.transform(X)
        else:
            E = self.encoder(X)
        return _checked(E)

    def decode(self, E):
        """Back to the space of X; the inverse of :meth:`encode` as far as the decoder is one."""
        if not self.can_decode:
            raise ValueError(
                f"encoder={type(self.encoder).__name__} has no inverse_transform and decoder=None: there is no "
                "way back to the space of X. Pass decoder=, or work with to_latent and transform."
            )
        if self.decoder is None:
            return E if self.encoder is None else self.encoder.inverse_transform(E)
        module = frozen_module(self.decoder, "decoder")
        if module is not None:
            return through_module(module, E)
        return self.decoder.transform(E) if hasattr(self.decoder, "transform") else self.decoder(E)


def is_network(coder):
    """Whether ``coder`` is a torch module or a skorch net, which are used as they are."""
    return isinstance(coder, torch.nn.Module) or (hasattr(coder, "forward_iter") and hasattr(coder, "initialize"))


def frozen_module(coder, argument):
    """The torch module that ``coder`` is or holds; None for anything else.

    Raises
    ------
    ValueError
        For a skorch net that was never initialised.
    """
    if isinstance(coder, torch.nn.Module):
        return coder
    if not is_network(coder):
        return None
    if not getattr(coder, "initialized_", False):
        raise ValueError(
            f"{argument}={type(coder).__name__} is a skorch net that was not fitted. Fit it first, or call its "
            "initialize() and load_params(): a network is used as it is."
        )
    return coder.module_


def through_module(module, X, like=None):
    """Outputs of a frozen module, in batches, in the dtype and on the device of its parameters (of ``like``)."""
    parameter = next((like or module).parameters(), torch.zeros(0))
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            parts = []
            for rows in row_chunks(len(X), MODULE_ROWS):
                given = module(torch.from_numpy(np.array(X[rows], order="C")).to(parameter))
                if not isinstance(given, torch.Tensor):
                    raise ValueError(f"a {type(module).__name__} gives a {type(given).__name__}; expected one tensor.")
                dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32
                parts.append(given.cpu().to(dtype).numpy())
    finally:
        for part, training in modes:
            part.training = training
    return np.concatenate(parts)
