"""Write docs/results.md from the cards of the shipped models.

python Resources/Studies/results.py docs/results.md      (or: make results)
"""

import sys
from pathlib import Path

from MedGANLogic.catalogue import models
from MedGANLogic.evaluation.results import results_page


def main() -> None:
    """Write the page."""
    shipped = [model for model in models() if model.is_shipped]
    Path(sys.argv[1]).write_text(results_page(shipped, "../Resources/Bundles"), encoding="utf-8")


if __name__ == "__main__":
    main()
