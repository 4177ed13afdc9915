"""`elbo gap` itself, process start excluded: L_K from q with the peers' networks and weights."""

import torch
from torch import nn

from benchmarks.peers.networks import decoder, encoder, images, settle
from benchmarks.worker import serve, wanted
from elbo_cli import build, config
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import importance
from elbo_cli.gap.settings import Settings
from elbo_cli.runtime import finished
from elbo_cli.runtime import settle as settle_elbo

wants = wanted()
settle(wants)
x = images(wants)[: wants["examples"]].reshape(-1, 1, 28, 28)
path = wants["grey"]
made = build.experiment(config.loads(f"data: {{name: arrays, path: {path}, binarize: dynamic, valid: 100, test: 100}}"))
model = made.model
encode, decode = encoder(), decoder()
theirs = [p for net in (encode, decode) for m in net for p in m.parameters()]
linear = [m for net in (model.encoder, model.decoder) for m in net.modules() if isinstance(m, nn.Linear)]
with torch.no_grad():
    for ours, other in zip((p for m in linear for p in (m.weight, m.bias)), theirs, strict=True):
        ours.copy_(other)
model.double() if wants.get("double") else model.eval()
x = x.double() if wants.get("double") else x
split = Split("test", (x * 255).to(torch.uint8), "images", scale=255.0)
settle_elbo(wants["threads"])


def work() -> float | None:
    settings = Settings(K=wants["K"], proposal=wants.get("proposal", "posterior"), seed=wants.get("seed", 0))
    found = finished(importance(model, split, settings))
    return found.log_px.mean if wants.get("answer") else None


serve(work)
