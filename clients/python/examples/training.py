"""A small PyTorch training watched live: weights, gradients and activations through hooks."""
import sys

import torch

import tensorscope

steps = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
ts = tensorscope.connect(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080", run="demo")
model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(),
                            torch.nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
watcher = tensorscope.watch(model, client=ts, every=5)
ts.stream("weights.2.weight", colormap="rdbu_r", normalize={"mode": "symmetric"}, preset="training")
ts.stream("grads.2.weight", colormap="rdbu_r", normalize={"mode": "symmetric"}, preset="training")
for step in range(steps):
    x = torch.rand(256, 2) * 2 - 1
    loss = torch.nn.functional.mse_loss(model(x), torch.sin(4 * x[:, :1]) * torch.cos(3 * x[:, 1:]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
watcher.close()
ts.close()
print("loss", loss.item(), ts.stats)
