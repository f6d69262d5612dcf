"""Watching a training: weights, gradients and activations of a model as tensors on the server.

    tensorscope.watch(model, client=ts, every=10)         # PyTorch
    model.fit(..., callbacks=[tensorscope.KerasCallback(ts)])
    tensorscope.watch_pytree(ts, {"weights": params, "grads": grads}, step)  # JAX and anything nested

Sampling keeps the cost of a step low: every n-th step, and tensors above `max_elements` are thinned by
strides (their true shape travels in the tags).
"""
import re
import time
import weakref

import numpy as np

from .client import Client, connect


def thin(array, max_elements):
    """(array, true shape or None): every k-th element along the largest axes until it is small enough."""
    shape = tuple(array.shape)
    total = int(np.prod(shape)) if shape else 1
    if total <= max_elements:
        return array, None
    steps = [1] * len(shape)
    while total > max_elements:
        sizes = [-(-n // s) for n, s in zip(shape, steps)]
        axis = int(np.argmax(sizes))
        if sizes[axis] <= 1:
            break
        steps[axis] *= 2
        total = int(np.prod([-(-n // s) for n, s in zip(shape, steps)]))
    return array[tuple(slice(None, None, s) for s in steps)], shape


def _name(text):
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".-") or "root"


class Watcher:
    """Hooks of one PyTorch module. close() removes them; so does leaving a `with`."""

    def __init__(self, client, module, weights, grads, activations, every, max_elements, prefix, max_overhead):
        self.client, self.every, self.max_elements = client, max(1, every), max_elements
        self.prefix, self.max_overhead = prefix, max_overhead
        self.step = 0
        self.spent_s = 0.0
        self._last_step_t = None
        self._skip = 0
        self._handles = []
        self._module = weakref.ref(module)
        self.weights, self.grads = weights, grads
        self._handles.append(module.register_forward_pre_hook(self._before))
        pattern = re.compile(activations) if isinstance(activations, str) else None
        for name, child in module.named_modules():
            kind = type(child).__name__.lower()
            if pattern and name and (pattern.search(kind) or pattern.search(name)):
                self._handles.append(child.register_forward_hook(self._activation(name)))
        if grads:
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    self._handles.append(parameter.register_hook(self._gradient(name)))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @property
    def sampling(self):
        return self._skip == 0

    def _before(self, module, _inputs):
        """One forward pass of the training is one step."""
        if not module.training:
            return
        now = time.perf_counter()
        if self._last_step_t is not None:
            self._stretch(now - self._last_step_t)
        self._last_step_t = now
        self.step += 1
        self._skip = (self._skip + 1) % self.every
        if self.sampling and self.weights:
            for name, parameter in module.named_parameters():
                self._send("weights." + name, parameter)

    def _stretch(self, step_s):
        """Sample more rarely where sampling costs more than `max_overhead` of the time between."""
        if self.sampling and self.spent_s > self.max_overhead * step_s * self.every and self.every < 4096:
            self.every *= 2
        if self.sampling:
            self.spent_s = 0.0

    def _send(self, name, tensor):
        start = time.perf_counter()
        small, true_shape = thin(tensor.detach(), self.max_elements)
        self.client.put(self.prefix + _name(name), small, step=self.step,
                        tags={"shape": list(true_shape)} if true_shape else None)
        self.spent_s += time.perf_counter() - start

    def _activation(self, name):
        def hook(module, _inputs, output):
            if module.training and self.sampling and hasattr(output, "detach"):
                self._send("acts." + name, output)
        return hook

    def _gradient(self, name):
        def hook(gradient):
            if self.sampling:
                self._send("grads." + name, gradient)
        return hook


def watch(module, client=None, weights=True, grads=True, activations="conv|linear", every=10, max_elements=1 << 18,
          prefix="", max_overhead=0.03, url="http://127.0.0.1:8080"):
    """Hook a PyTorch module; returns a Watcher. Names: weights.<parameter>, grads.<parameter>,
    acts.<module>. `activations` is a pattern over module types and names, or None. Never raises into
    the training and never waits for the server; `every` grows by itself where sampling would cost more
    than `max_overhead` of a step."""
    client = client if isinstance(client, Client) else connect(client or url)
    return Watcher(client, module, weights, grads, activations, every, max_elements, prefix, max_overhead)


def watch_pytree(client, trees, step=None, max_elements=1 << 18, prefix=""):
    """Send every array of nested dicts, lists and tuples: {"weights": params, "grads": grads}."""

    def walk(path, node):
        if isinstance(node, dict):
            for key, child in node.items():
                walk(f"{path}.{key}" if path else str(key), child)
        elif isinstance(node, (list, tuple)):
            for i, child in enumerate(node):
                walk(f"{path}.{i}", child)
        elif node is not None and hasattr(node, "shape"):
            small, true_shape = thin(node, max_elements)
            client.put(prefix + _name(path), small, step=step, tags={"shape": list(true_shape)} if true_shape else None)

    walk("", trees)


def KerasCallback(client, every=10, max_elements=1 << 18, prefix=""):
    """A keras.callbacks.Callback that sends the weights of every n-th batch."""
    from keras.callbacks import Callback

    class TensorscopeCallback(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch % every == 0:
                for layer in self.model.layers:
                    for i, weight in enumerate(layer.get_weights()):
                        small, true_shape = thin(weight, max_elements)
                        client.put(f"{prefix}weights.{_name(layer.name)}.{i}", small, step=batch,
                                   tags={"shape": list(true_shape)} if true_shape else None)

    return TensorscopeCallback()
