"""Writes models.json: popularity by age, session neighbours and EASE on a small world, for tests/reference.rs.

    pip install -r requirements.txt && python models.py > models.json

Written from the papers' equations on whole matrices, without any of the crate's shortcuts.
"""

import json

import numpy as np

ITEMS, SESSIONS, DAY = 40, 120, 86_400_000
HALF_LIFE_DAYS, REGULARISATION = 3.0, 20.0
PLAIN = dict(neighbours=30, position_scale=0.0, age_scale=0.0, distance_scale=0.0, match_scale=0.0, idf_weight=0.0)
VSTAN = dict(neighbours=25, position_scale=2.5, age_scale=6.0, distance_scale=2.0, match_scale=1.5, idf_weight=0.7)


def fall(distance, scale):
    return np.exp(-np.asarray(distance, dtype=float) / scale) if scale > 0 else np.ones_like(distance, dtype=float)


def distinct(items):
    """Oldest first; of an item met again the newest place counts."""
    kept = []
    for item in reversed(items):
        if item not in kept:
            kept.append(item)
    return kept[::-1]


def session_knn(sessions, history, config):
    """Scores of every item. `sessions`: (items, time of the newest), any order."""
    sessions = [(distinct(items), time) for items, time in sessions]
    newest = max(time for _, time in sessions)
    holders = np.zeros(ITEMS)
    for items, _ in sessions:
        holders[items] += 1
    history = distinct(history)
    steps = {item: len(history) - 1 - place for place, item in enumerate(history)}
    neighbours = []
    for items, time in sessions:
        shared = [item for item in items if item in steps]
        if not shared:
            continue
        similar = sum(fall(steps[item], config["position_scale"]) for item in shared) / np.sqrt(len(items))
        similar *= fall((newest - time) / DAY, config["age_scale"])
        neighbours.append((float(similar), time, items, min(shared, key=lambda item: steps[item])))
    neighbours.sort(key=lambda neighbour: (-neighbour[0], -neighbour[1]))
    scores = np.zeros(ITEMS)
    for similar, _, items, match in neighbours[: config["neighbours"]]:
        for place, item in enumerate(items):
            score = similar * fall(steps[match], config["match_scale"])
            score *= fall(abs(place - items.index(match)), config["distance_scale"])
            scores[item] += score * (1 + config["idf_weight"] * np.log(len(sessions) / holders[item]))
    return scores


def ease(sessions):
    x = np.zeros((len(sessions), ITEMS))
    for row, (items, _) in enumerate(sessions):
        x[row, items] = 1
    inverse = np.linalg.inv(x.T @ x + REGULARISATION * np.eye(ITEMS))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def main() -> None:
    rng = np.random.default_rng(7)
    sessions = []
    for number in range(SESSIONS):
        # Sessions walk around a place, so that neighbours mean something; no two end at one instant.
        place = rng.integers(ITEMS)
        items = [int(item) for item in (place + rng.integers(-4, 5, rng.integers(2, 9))) % ITEMS]
        sessions.append((items, int(number * DAY // 10 + rng.integers(1000))))
    until = SESSIONS * DAY // 10 + 5000
    histories = [[int(item) for item in rng.integers(0, ITEMS, length)] for length in [1, 2, 3, 5, 9]]

    recent = np.zeros(ITEMS)
    for items, time in sessions:
        for item in items:
            recent[item] += 2.0 ** (-(until - time) / (HALF_LIFE_DAYS * DAY))
    weights = ease(sessions)
    out = {
        "items": ITEMS,
        "until": until,
        "sessions": [{"items": items, "time": time} for items, time in sessions],
        "histories": histories,
        "half_life_ms": int(HALF_LIFE_DAYS * DAY),
        "recent": (recent / recent.sum()).tolist(),
        "regularisation": REGULARISATION,
        "ease": weights.tolist(),
        "ease_scores": [weights[distinct(history)].sum(axis=0).tolist() for history in histories],
        "plain": {**PLAIN, "scores": [session_knn(sessions, history, PLAIN).tolist() for history in histories]},
        "vstan": {**VSTAN, "scores": [session_knn(sessions, history, VSTAN).tolist() for history in histories]},
    }
    print(json.dumps(out))


if __name__ == "__main__":
    main()
