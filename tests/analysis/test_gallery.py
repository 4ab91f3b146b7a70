"""The gallery: its pictures are there, small, and each in words; its tables are recognised for what they are."""

import os
import re
from pathlib import Path

import pytest

from isoflop.analysis import options

DOCS = Path(__file__).parents[2] / "docs"
DATA = os.environ.get("ISOFLOP_REFERENCE_DATA")


def test_each_picture_of_the_gallery_is_there_small_and_told_in_words() -> None:
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[(.*?)\]\((gallery/.*?\.svg)\)", text)
    assert {path for _, path in pictures} == {f"gallery/{path.name}" for path in (DOCS / "gallery").glob("*.svg")}
    for words, path in pictures:
        assert len(words) > 30
        assert (DOCS / path).stat().st_size < 200_000
    assert len(re.findall("^## ", text, re.MULTILINE)) == 5


@pytest.mark.skipif(not DATA, reason="ISOFLOP_REFERENCE_DATA names no folder of public tables")
@pytest.mark.parametrize(
    ("path", "where", "kind"),
    [
        ("epoch-research__analyzing-chinchilla/svg_extracted_data.csv", "", "isoflop"),
        ("formll__resolving-scaling-law-discrepancies/isoflop_points.csv", "hparams = 'tuned'", "isoflop"),
        ("mcleish7__gemstone-scaling-laws/wandb_dfs/wandb_df_for_fitting_hot_100b+.jsonl", "", "marks"),
        ("PlanarG__active-sl/farseer_train.csv", "", "grid"),
        ("step-law__steplaw/dense_lr_bs_loss.csv", "", "grid"),
    ],
)
def test_public_tables_are_laid_out_as_their_authors_say(path: str, where: str, kind: str) -> None:
    rows = options.table(Path(str(DATA)) / path, where=where).usable.with_compute
    assert rows.layout.kind == kind
