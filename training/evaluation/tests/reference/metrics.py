"""Writes metrics.json: what numpy and scikit-learn make of a small world, for tests/reference.rs.

    pip install -r requirements.txt && python metrics.py > metrics.json

Everything is computed from whole score vectors, the slow way. Scores are coarse, so that many tie; a tie is broken
against the system by writing the ranking out with irrelevant items first, and scoring that ranking without ties.
NDCG and AUC are scikit-learn's (`ndcg_score`, `roc_auc_score`), average precision is scikit-learn's where k covers the
list; precision, recall, hit rate, reciprocal rank, MAP@k, novelty and coverage are their definitions in numpy.
"""

import json

import numpy as np
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

USERS, ITEMS, CUTOFFS = 60, 80, [1, 5, 10, 50]


def main() -> None:
    rng = np.random.default_rng(20261126)
    popularity = rng.zipf(1.6, ITEMS).clip(1, 200).astype(float)
    world = {"train": [], "test": [], "scores": []}
    for _ in range(USERS):
        items = rng.choice(ITEMS, size=rng.integers(6, 16), replace=False, p=popularity / popularity.sum())
        cut = rng.integers(3, len(items) - 1)
        world["train"].append([int(item) for item in items[:cut]])
        world["test"].append([int(item) for item in items[cut:]])
        scores = rng.integers(0, 12, ITEMS) / 4.0
        scores[items[cut:]] += 1.25
        world["scores"].append([float(score) for score in scores])

    counts = np.zeros(ITEMS)
    for items in world["train"]:
        counts[items] += 1
    surprise = -np.log2((counts + 1) / (counts.sum() + ITEMS))

    sums: dict[str, list[float]] = {}
    shown = {k: set() for k in CUTOFFS}
    for train, test, scores in zip(world["train"], world["test"], world["scores"]):
        scores = np.array(scores)
        ranked = np.array([item for item in range(ITEMS) if item not in train])
        relevant = np.isin(ranked, test)
        # Best first; among equals the irrelevant ones.
        order = np.lexsort((relevant, -scores[ranked]))
        hits = relevant[order]
        untied = np.zeros(len(ranked))
        untied[order] = np.arange(len(ranked), 0, -1)

        def add(name: str, value: float) -> None:
            sums.setdefault(name, []).append(float(value))

        add("auc", roc_auc_score(relevant, untied))
        places = np.flatnonzero(hits) + 1
        precisions = np.arange(1, len(places) + 1) / places
        assert np.isclose(precisions.mean(), average_precision_score(relevant, untied))
        for k in CUTOFFS:
            found = hits[:k].sum()
            within = places <= k
            add(f"hr@{k}", found > 0)
            add(f"recall@{k}", found / len(test))
            add(f"precision@{k}", found / k)
            add(f"mrr@{k}", 1 / places[0] if places[0] <= k else 0)
            add(f"map@{k}", precisions[within].sum() / min(len(test), k))
            add(f"ndcg@{k}", ndcg_score([relevant], [untied], k=k))
            # What a shopper sees: among equals the item that comes first in the catalogue.
            top = ranked[np.lexsort((ranked, -scores[ranked]))][:k]
            add(f"novelty@{k}", surprise[top].mean())
            shown[k].update(top.tolist())

    metrics = {name: float(np.mean(values)) for name, values in sums.items()}
    coverage = {str(k): len(items) / ITEMS for k, items in shown.items()}
    print(json.dumps({"world": world, "cutoffs": CUTOFFS, "metrics": metrics, "coverage": coverage}))


if __name__ == "__main__":
    main()
