"""Arrays of any kind as (contiguous bytes, dtype name, shape), copied at most once."""
import numpy as np

_NAMES = {"bool": "bool", "uint8": "u8", "int8": "i8", "uint16": "u16", "int16": "i16", "uint32": "u32",
          "int32": "i32", "uint64": "u64", "int64": "i64", "float16": "f16", "float32": "f32", "float64": "f64"}
DTYPES = {name: np.dtype(numpy_name) for numpy_name, name in _NAMES.items()}


def to_host(array, copy=True):
    """(ndarray in C order, dtype name) of a NumPy array, a PyTorch or JAX array, anything with
    __dlpack__ or __array__, a list or a number. With `copy` the result shares no memory with `array`."""
    if _is_torch(array):
        return _from_torch(array, copy)
    if not isinstance(array, np.ndarray):
        array, copy = _from_other(array), False
    if array.dtype.name == "bfloat16":  # ml_dtypes, as JAX has them
        return np.array(array.view(np.uint16), order="C", copy=copy or None), "bf16"
    name = _NAMES.get(array.dtype.name)
    if name is None:
        raise TypeError(f"arrays of {array.dtype} are not tensors; use one of {', '.join(_NAMES)}")
    if array.dtype.byteorder == ">":
        array, copy = array.astype(array.dtype.newbyteorder("<")), False
    if copy:
        return np.array(array, order="C", copy=True), name
    return np.ascontiguousarray(array).reshape(array.shape), name


def _is_torch(array):
    return type(array).__module__.split(".")[0] == "torch"


def _from_torch(tensor, copy):
    tensor = tensor.detach()
    moved = tensor.device.type != "cpu"
    tensor = tensor.cpu().contiguous()
    if str(tensor.dtype) == "torch.bfloat16":
        import torch

        host = tensor.view(torch.int16).numpy().view(np.uint16)
        return (host if moved else np.array(host, copy=copy)), "bf16"
    host = tensor.numpy()
    return (np.array(host, copy=True) if copy and not moved else host), _NAMES[host.dtype.name]


def _from_other(value):
    if hasattr(value, "__dlpack__") and hasattr(np, "from_dlpack"):
        try:
            return np.array(np.from_dlpack(value))
        except (BufferError, RuntimeError, TypeError):
            pass  # on another device, or a dtype DLPack does not carry: __array__ may still do
    array = np.asarray(value)
    if array.dtype == np.float64 and not hasattr(value, "__array__"):
        return array.astype(np.float32)  # plain Python numbers
    return array
