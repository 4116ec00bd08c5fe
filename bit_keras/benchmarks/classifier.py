"""Linear classifiers for many penalties, and how often they are right."""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np

from bit_keras.benchmarks.row_blocks import blocks

# Shares of a mixture that are looked at before all of it: of those tried, the
# fastest.
_SHARES = (0.54, 0.72)
# Numbers that stay in the cache of a core: 1 MiB of float32.
_CACHED = 2**18


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Linear classifiers, one for each penalty, as mixtures of a few.

    Attributes:
        basis: float32 `(features, images)`, by which raw features are projected
            first; `None`: they are not.
        centre: What these numbers are about, float32 `(features or images,)`.
        scale: Of their differences from it, like `centre`.
        weights: float32 `(features or images, p, classes)`.
        offset: float32 `(p, classes)`.
        norms: Of the weights for numbers centred and scaled, float32
            `(p, classes)`.
        mix: float32 `(penalties, p)`; the first of the p matter most.
        bias: float32 `(penalties, classes)`, from the constant feature.
    """

    basis: np.ndarray | None
    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    offset: np.ndarray
    norms: np.ndarray
    mix: np.ndarray
    bias: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Returns float32 scores `(images, penalties, classes)`."""
        nodes = self._nodes(self._projected(features), slice(None))
        return self._mixed(nodes)

    def correct(self, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Counts the images whose highest score is that of their label.

        Most images need not be multiplied with all weights: by Cauchy and
        Schwarz, what the last of the p may still add to a score is at most the
        length of the image times that of these weights. Where the label leads,
        or trails, by more than twice as much, nothing can change that.

        Args:
            features: `(images, features)`; read in blocks of rows.
            labels: `(images,)`.

        Returns:
            Counts of shape `(penalties,)`.
        """
        _, p, classes = self.weights.shape
        per_row = features.shape[1] + p * classes
        count = np.zeros(len(self.mix), np.int64)
        for rows in blocks(len(labels), per_row):
            x = self._projected(features[rows])
            count += self._correct(x, labels[rows])
        return count

    def _correct(self, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
        count = np.zeros(len(self.mix), np.int64)
        length = self._lengths(x)
        nodes = np.empty((len(x), 0, self.weights.shape[2]), np.float32)
        for part, missing in self._parts():
            nodes = np.concatenate([nodes, self._nodes(x, part)], axis=1)
            hits, margin = self._hits(nodes, labels)
            reach = missing[:, labels].T + missing.max(axis=1)
            undecided = (margin < length[:, None] * reach).any(axis=1)
            count += hits[~undecided].sum(axis=0)
            if not undecided.any():
                break
            x, labels, length, nodes = (
                array[undecided] for array in (x, labels, length, nodes)
            )
        return count

    def _parts(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Cuts the p in parts; says what scores may still lack after each.

        Yields:
            The part, and the most by which the scores of an image of length 1
            may still change, float32 `(penalties, classes)`; 0 after the last.
        """
        p = self.weights.shape[1]
        ends = {math.ceil(share * p) for share in _SHARES} - {p}
        for start, stop in itertools.pairwise([0, *sorted(ends), p]):
            missing = abs(self.mix[:, stop:]) @ self.norms[stop:]
            yield slice(start, stop), missing

    def _projected(self, features: np.ndarray) -> np.ndarray:
        x = np.asarray(features, np.float32)
        return x if self.basis is None else x @ self.basis

    def _lengths(self, x: np.ndarray) -> np.ndarray:
        lengths = np.empty(len(x), np.float32)
        step = max(1, _CACHED // x.shape[1])
        for start in range(0, len(x), step):
            away = x[start : start + step] - self.centre
            away *= self.scale
            squares = np.einsum("ij,ij->i", away, away)
            lengths[start : start + step] = np.sqrt(squares)
        return lengths

    def _nodes(self, x: np.ndarray, part: slice) -> np.ndarray:
        """Scores by some of the p, before they are mixed."""
        width, p, classes = self.weights.shape
        start, stop, _ = part.indices(p)
        # A view, where self.weights[:, part] would have to be copied.
        flat = self.weights.reshape(width, -1)
        nodes = x @ flat[:, start * classes : stop * classes]
        nodes += self.offset[part].ravel()
        return nodes.reshape(len(x), -1, classes)

    def _mixed(self, nodes: np.ndarray) -> np.ndarray:
        scores = np.matmul(self.mix[:, : nodes.shape[1]], nodes)
        # Equal in all classes of a balanced task: no winner depends on it.
        if np.ptp(self.bias, axis=1).any():
            scores += self.bias
        return scores

    def _hits(
        self, nodes: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns whether the label wins, and by how much it leads or trails.

        Both `(images, penalties)`. Of equal scores the first class wins.
        """
        shape = len(nodes), len(self.mix)
        hits, margin = np.empty(shape, bool), np.empty(shape, np.float32)
        step = max(1, _CACHED // self.mix.shape[0] // nodes.shape[2])
        for start in range(0, len(nodes), step):
            rows = slice(start, start + step)
            scores = self._mixed(nodes[rows])
            index = labels[rows, None, None]
            own = np.take_along_axis(scores, index, axis=2)
            np.put_along_axis(scores, index, -np.inf, axis=2)
            rival = scores.argmax(axis=2)[..., None]
            lead = own - np.take_along_axis(scores, rival, axis=2)
            hits[rows] = ((lead > 0) | (lead == 0) & (index < rival))[..., 0]
            margin[rows] = abs(lead[..., 0])
        return hits, margin
