"""The models of `bench-training` in PyTorch, on the CPU: one process for each row, asked in JSON lines.

    {"model": "two-tower" | "encoder", "compile": false, "histories": FILE, "ends": FILE, "targets": FILE, ...}
    {"steps": 20}                                     answered by {"seconds": …, "examples": …, "loss": …}

Embeddings are sparse, so that a step costs what its batch touches; candidates and the batch's items are taken once each,
as ours are; attention is `scaled_dot_product_attention`, causal; histories are padded to the longest of the batch.
"""

import json
import os
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

D, TEMPERATURE = 64, 0.05


class FeedForward(nn.Module):
    def __init__(self, hidden, dropout=0.0):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(D), nn.Linear(D, hidden), nn.Linear(hidden, D)
        self.dropout = dropout

    def forward(self, x):
        inner = F.gelu(self.up(self.norm(x)), approximate="tanh")
        if self.dropout:
            inner = F.dropout(inner, self.dropout)
        y = self.down(inner)
        return x + (F.dropout(y, self.dropout) if self.dropout else y)


class Attention(nn.Module):
    def __init__(self, heads, dropout):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(D), nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.heads, self.dropout = heads, dropout

    def forward(self, x):
        b, n, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, n, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, n, D)
        return x + F.dropout(self.out(y), self.dropout)


def softmax_loss(users, items, targets, corrections):
    """A row's own target is there for certain, so its correction is left out."""
    scores = torch.addmm(corrections, users, items.T, alpha=1 / TEMPERATURE)
    scores.scatter_add_(1, targets[:, None], -corrections[targets][:, None])
    return F.cross_entropy(scores, targets)


def corrections(counts, draws, negatives, pool):
    share = torch.log1p(-counts) * draws
    return -torch.log1p(-torch.exp(share) * (1 - negatives / pool))


class TwoTower(nn.Module):
    """The mean of a history of products of the item tower, then a feed-forward layer."""

    def __init__(self, s):
        super().__init__()
        self.s = s
        self.items = nn.Embedding(s["items"], D, sparse=True)
        self.words = nn.Embedding(s["words"], D)
        self.start, self.view = nn.Parameter(torch.zeros(D)), nn.Parameter(torch.zeros(D))
        self.item, self.user, self.norm = FeedForward(s["hidden"]), FeedForward(s["hidden"]), nn.LayerNorm(D)
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.words.weight, std=0.02)

    def loss(self, visitors, data):
        n = self.s["length"]
        history = data.histories[visitors[:, None] * (n + 1) + torch.arange(n)]
        targets = data.histories[visitors * (n + 1) + n]
        met, places = torch.unique(torch.cat([targets, history.reshape(-1)]), return_inverse=True)
        vectors = F.normalize(self.item(self.items(met) + self.words(met % self.s["words"])), dim=1)
        places = places[len(visitors):].view(-1, n)
        pooled = F.embedding_bag(places, vectors, mode="sum") * D**0.5
        pooled = (pooled + self.start + n * self.view) / (n + 1)
        users = F.normalize(self.norm(self.user(pooled)), dim=1)
        candidates, own = torch.unique(targets, return_inverse=True)
        chosen = vectors[torch.searchsorted(met, candidates)]
        correct = corrections(data.shares[candidates], len(targets), 0, self.s["items"])
        return softmax_loss(users, chosen, own, correct), len(visitors)


class Encoder(nn.Module):
    """Causal self-attention over a history; every position is asked what came next."""

    def __init__(self, s):
        super().__init__()
        self.s = s
        n = s["length"] + 1
        self.items = nn.Embedding(s["items"], D, sparse=True)
        self.event_type, self.gap, self.position = nn.Embedding(32, D), nn.Embedding(64, D), nn.Embedding(n, D)
        self.blocks = nn.Sequential(
            *(m for _ in range(s["blocks"]) for m in (Attention(s["heads"], s["dropout"]), FeedForward(s["hidden"], s["dropout"])))
        )
        self.norm = nn.LayerNorm(D)
        for table in (self.items, self.event_type, self.gap, self.position):
            nn.init.normal_(table.weight, std=0.02)
        self.tower = self.users
        if s["compile"]:
            self.tower = torch.compile(self.users, dynamic=s["ragged"])

    def users(self, x):
        return F.normalize(self.norm(self.blocks(F.dropout(x, self.s["dropout"]))), dim=-1)

    def loss(self, visitors, data):
        first, counts = data.starts[visitors], data.lengths[visitors]
        n = int(counts.max()) - 1
        steps = torch.arange(n)
        valid = steps[None] < (counts - 1)[:, None]
        places = first[:, None] + torch.minimum(steps[None], counts[:, None] - 1)
        history = data.histories[places]
        # A row for the start of the history, then one for each entry; row r is asked for event r.
        asked = torch.cat([torch.ones(len(visitors), 1, dtype=torch.bool), valid], 1)
        ends = first[:, None] + torch.minimum(torch.arange(n + 1)[None], counts[:, None] - 1)
        targets = data.histories[ends][asked]
        negatives = torch.randint(0, self.s["items"], (self.s["negatives"],))
        met, places = torch.unique(torch.cat([targets, negatives, history[valid]]), return_inverse=True)
        vectors = F.normalize(self.items(met), dim=1)
        x = torch.zeros(len(visitors), n + 1, D)
        entries = vectors[places[len(targets) + len(negatives):]] * D**0.5
        x[:, 1:][valid] = entries
        types = torch.zeros(len(visitors), n + 1, dtype=torch.long)
        types[:, 1:] = 1
        x = x + self.event_type(types) + self.position(torch.arange(n + 1)) + self.gap(types)
        users = self.tower(x)[asked]
        candidates, own = torch.unique(places[: len(targets) + len(negatives)], return_inverse=True)
        correct = corrections(data.shares[met[candidates]], len(targets), self.s["negatives"], self.s["items"])
        return softmax_loss(users, vectors[candidates], own[: len(targets)], correct), len(targets)


class Data:
    def __init__(self, s):
        load = lambda name: torch.from_numpy(np.fromfile(s[name], dtype=np.uint32).astype(np.int64))
        self.histories, ends = load("histories"), load("ends")
        self.starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
        self.lengths = ends - self.starts
        counts = torch.bincount(self.histories, minlength=s["items"]).double()
        self.shares = (counts / counts.sum()).float()


def main():
    torch.set_num_threads(int(os.environ["ENDCAP_THREADS"]))
    torch.manual_seed(1)
    s = json.loads(sys.stdin.readline())
    data = Data(s)
    model = {"two-tower": TwoTower, "encoder": Encoder}[s["model"]](s)
    dense = [p for name, p in model.named_parameters() if name != "items.weight"]
    sparse = torch.optim.Adagrad if s["adagrad"] else torch.optim.SparseAdam
    optimisers = [torch.optim.AdamW(dense, lr=1e-3), sparse([model.items.weight], lr=1e-2)]
    order, place = torch.randperm(len(data.lengths)), 0
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        steps, examples, loss = json.loads(line)["steps"], 0, None
        began = time.perf_counter()
        for _ in range(steps):
            if place + s["batch"] > len(order):
                order, place = torch.randperm(len(data.lengths)), 0
            visitors = order[place : place + s["batch"]]
            place += s["batch"]
            for optimiser in optimisers:
                optimiser.zero_grad(set_to_none=True)
            loss, n = model.loss(visitors, data)
            loss.backward()
            nn.utils.clip_grad_norm_(dense, 1.0)
            for optimiser in optimisers:
                optimiser.step()
            examples += n
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "examples": examples, "loss": float(loss)}), flush=True)


main()
