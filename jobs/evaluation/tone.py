"""Does it sound like the wanted answers? A small classifier that has never seen the row it judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.evaluation.measures import Measure
from jobs.evaluation.statistics import LEVEL, Interval

FOLDS = 5
# With fewer rows a fold has hardly anything to learn from.
FEWEST_ROWS = 10
# Below this the classifier cannot tell yours from the base model's well enough for its score to mean something.
RELIABLE = 0.75
DRAWS = 2_000


@dataclass(frozen=True)
class Tone:
    """For each side and row how much it sounds wanted (0-1), and how well the classifier can tell at all.

    `reliability` is how often, of a wanted answer and one of the base model's, it picks the wanted one.
    """

    scores: Mapping[str, Sequence[float]]
    reliability: Interval

    @property
    def is_reliable(self) -> bool:
        """Whether the score may carry a verdict."""
        return self.reliability.low >= RELIABLE

    def measure(self) -> Measure:
        """The tone beside the other measures."""
        told = (
            f"It picks the wanted one of a wanted and a base answer {self.reliability.value:.0%} of the time"
        )
        range_ = f"{self.reliability.low:.0%} to {self.reliability.high:.0%}"
        doubt = "" if self.is_reliable else " That is too seldom to rely on it."
        note = f"{told} ({range_}; by chance 50%).{doubt}"
        return Measure("tone", "sounds like your answers (tone)", "share", "higher", self.scores, note)

    def as_json(self) -> dict[str, Any]:
        """The classifier's own reliability, as a card holds it."""
        return {"reliability": self.reliability.as_json(), "reliable": self.is_reliable}


def tone(
    references: Sequence[str],
    answers: Mapping[str, Sequence[str]],
    more: Sequence[tuple[str, str]] = (),
    seed: int = 0,
) -> Tone | None:
    """Learn what tells wanted answers from the base model's, and judge every side by it.

    Cross-fitted: the answers of a row are judged by a classifier that has learned from other rows alone.

    Args:
        references: the wanted answers, (rows,).
        answers: (rows,) for each side, "base" among them.
        more: (wanted, base) of rows that are not counted, to learn from as well.

    Returns None with fewer than ten rows, or where no text is left to learn from.
    """
    rows = len(references)
    base = answers.get("base", ())
    if rows < FEWEST_ROWS or len(base) != rows:
        return None
    fold_of = np.random.default_rng(seed).permutation(rows) % FOLDS
    judged = {side: np.zeros(rows) for side in answers}
    wanted = np.zeros(rows)
    for fold in range(FOLDS):
        learned = [row for row in range(rows) if fold_of[row] != fold]
        held = [row for row in range(rows) if fold_of[row] == fold]
        yours = [references[row] for row in learned] + [one for one, _ in more]
        theirs = [base[row] for row in learned] + [one for _, one in more]
        if not any(text.strip() for text in [*yours, *theirs]):
            return None
        judge = _learned(yours, theirs)
        wanted[held] = judge([references[row] for row in held])
        for side, texts in answers.items():
            judged[side][held] = judge([texts[row] for row in held])
    reliability = _reliability(wanted, judged["base"], seed)
    return Tone({side: scores.tolist() for side, scores in judged.items()}, reliability)


def _learned(yours: Sequence[str], theirs: Sequence[str]) -> Any:
    """A function from texts to how likely each is one of yours, (texts,)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    # Letters inside words and at their borders: endings, punctuation, small words; not what it is about.
    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True, max_features=20_000)
    model = make_pipeline(features, LogisticRegression(C=10.0, max_iter=500))
    labels = [1] * len(yours) + [0] * len(theirs)
    model.fit([*yours, *theirs], labels)

    def judge(texts: Sequence[str]) -> NDArray[np.float64]:
        likely: NDArray[np.float64] = model.predict_proba(list(texts))[:, 1]
        return likely

    return judge


def _reliability(wanted: NDArray[np.float64], base: NDArray[np.float64], seed: int) -> Interval:
    """The area under the ROC curve, with its 95 % bootstrap interval over rows.

    Of all pairs of a wanted and a base answer, the share in which the wanted one scores higher; ties count half.
    """
    higher = (wanted[:, None] > base[None, :]) + 0.5 * (wanted[:, None] == base[None, :])
    rows = len(wanted)
    picks = np.random.default_rng(seed).integers(rows, size=(DRAWS, rows))
    areas = [float(higher[np.ix_(pick, pick)].mean()) for pick in picks]
    low, high = np.quantile(areas, [LEVEL / 2, 1 - LEVEL / 2])
    # With every row on its right side, what was not seen is the share of rows that may be on the wrong one.
    unseen = 1 - (LEVEL / 2) ** (1 / rows)
    area = float(higher.mean())
    return Interval(area, min(float(low), 1 - unseen) if area == 1.0 else float(low), float(high))
