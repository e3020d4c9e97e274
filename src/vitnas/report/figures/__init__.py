"""Figures of a search and of the training before it, for the report and for dashboards.

Every function takes plain records, so it works for a study that is still running. Names that come
from outside stand for themselves; they are never read as markup.
"""

from vitnas.report.figures.choices import choices_of_elites, elites
from vitnas.report.figures.curves import best_so_far, training_curves
from vitnas.report.figures.drawing import architecture, compare_architectures
from vitnas.report.figures.generations import choices_over_generations
from vitnas.report.figures.lineage import lineage
from vitnas.report.figures.scatter import pareto
from vitnas.report.figures.spaces import spaces_of_rounds
from vitnas.report.figures.volumes import hypervolume_so_far

__all__ = [
    "architecture",
    "best_so_far",
    "choices_of_elites",
    "choices_over_generations",
    "compare_architectures",
    "elites",
    "hypervolume_so_far",
    "lineage",
    "pareto",
    "spaces_of_rounds",
    "training_curves",
]
