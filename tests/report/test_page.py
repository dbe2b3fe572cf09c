"""What the page shows, and that no stranger's name becomes markup. The browser test looks at it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from base64 import b64decode, b64encode
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import write_json
from headstart.evaluation.recorded import read_evaluation
from headstart.report import images, results
from headstart.report import page as pages
from headstart.report.run import Run, draw, ended, show
from headstart.stage.page import Page
from headstart.stage.parameters import read_params
from tests.report import made

REJECTED = (
    ("raw/cut.jpg", "truncated", "the jpeg ends too early, after 900 bytes"),
    ("raw/<img src=x onerror=alert(1)>.txt", "not_an_image", "it begins with b'<'"),
    ("raw/empty.png", "empty", "the file has no bytes"),
)


def render(folder: Path, drawn: Path, params: Path = made.PARAMS, **plan: Any) -> str:
    """The page of a run, with figures that were drawn before."""
    known = read_params(params)
    page = Page(folder / "index.html", known.model_dump())
    show(Run(made.make(folder / "files", **plan)), drawn, page, known.seed, known.make_report)
    return page.path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "figures").mkdir()
    draw(Run(made.make(folder / "files")), folder / "figures")
    return folder / "figures"


class Words(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def usual(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("usual")
    params = made.params_file(folder / "p.yaml", make_report={"watts_per_core": 12.5})
    return render(folder, drawn, params, tuned=True, tuning=2, rejected=REJECTED, each=12)


def test_the_page_needs_no_other_file(usual: str) -> None:
    page = Words(usual)
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "srcset", "href"):
            value = attributes.get(name) or ""
            followed = tag == "a" and value == "../corrections.csv"  # by a click, never loaded
            assert value.startswith(("data:", "#")) or not value or followed, (tag, value[:60])
    assert "http://" not in usual.replace("http-equiv", "")
    assert "https://" not in usual


def test_only_our_style_and_script_may_run(usual: str) -> None:
    policy = next(a["content"] for t, a in Words(usual).tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", usual, re.DOTALL)
        assert len(found) == 1
        digest = b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_strangers_names_are_text(tmp_path: Path, drawn: Path) -> None:
    rejected = [(f"raw/{name}", "truncated", "cut") for name in made.HOSTILE if "/" not in name]
    text = render(tmp_path, drawn, classes=sorted(made.HOSTILE), each=3, rejected=rejected)
    page = Words(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    for name in made.HOSTILE:
        assert name in page.text
    assert "49" not in re.findall(r"<bdi[^>]*>\s*(\d+)", text)


def test_every_figure_comes_for_light_and_for_dark(usual: str) -> None:
    tags = Words(usual).tags
    light = [
        a["src"] for t, a in tags if t == "img" and (a["src"] or "").startswith("data:image/png")
    ]
    dark = [a["srcset"] for t, a in tags if t == "source"]
    assert len(dark) == 5  # of learning, calibration, audit: sizes are all one, classes are few
    assert set(dark).isdisjoint(light)
    for source in dark:
        assert b64decode((source or "").partition(",")[2]).startswith(b"\x89PNG")


def test_the_page_describes_the_run(usual: str) -> None:
    text = Words(usual).text
    for said in (
        "fine-tuned", "accuracy 0.5 → 0.6", "95 % interval", "mobilenet_v2", "numpy 2.4",
        "A CPU <of> some kind", "XLA_FLAGS=<b>", "watts_per_core", "12.5", "learning_rate",
    ):  # fmt: skip
        assert said in text, said
    assert "Both models on the same 36 test images. The choice between them was made on" in text
    assert "gate" not in re.findall(r"<h4>(.*?)</h4>", usual)


def test_corrections_are_counted_with_a_link_to_the_file(
    tmp_path: Path, drawn: Path, usual: str
) -> None:
    assert "Nothing: headstart review shows what to look at" in Words(usual).text
    counts = {
        "keep": 1, "remove": 3, "same_object": 0, "of_unknown_images": 0,
        "relabel": {"train": 1200, "validation": 0, "test": 0},
    }  # fmt: skip
    page = Words(render(tmp_path, drawn, corrections=counts))
    said = "1,200 images relabeled (train 1,200), 3 images removed, 0 pairs held together, 1 label"
    assert said in page.text
    assert ("a", "../corrections.csv") in [(tag, of.get("href")) for tag, of in page.tags]


def test_what_was_rejected_is_counted_named_and_shown(usual: str) -> None:
    assert "3 files were rejected" in Words(usual).text
    for path, reason, detail in REJECTED:
        assert all(said in Words(usual).text for said in (path, reason, detail))
    shown = [
        a for t, a in Words(usual).tags if t == "img" and (a["alt"] or "").startswith("rejected")
    ]
    assert [a["alt"] for a in shown] == ["rejected: raw/cut.jpg"]


def test_the_energy_is_called_an_estimate_with_its_assumption(usual: str) -> None:
    text = " ".join(Words(usual).text.split()).replace("\N{NO-BREAK SPACE}", " ")
    # 36 s on 4 cores of 12.5 W each, and 20 cached passes of 0.01 s.
    assert "about 0.5 Wh, an estimate" in text
    assert "Energy is an estimate, not a measurement: seconds × 4 cores × 12.5 W per core" in text
    assert "The 20 cached passes would have taken about 0.2 s" in text


def test_advice_names_its_parameter_as_code(usual: str) -> None:
    assert "Before you trust these numbers" in usual
    assert "Raise <code>split.validation</code>, or add images." in usual


def test_random_weights_are_reported_prominently(tmp_path: Path, drawn: Path, usual: str) -> None:
    assert "RANDOM WEIGHTS" not in usual
    text = render(tmp_path, drawn, random_weights=True)
    assert 'role="alert"><strong>RANDOM WEIGHTS</strong>' in text


def test_the_grid_is_drawn_by_the_seed_and_titled(tmp_path: Path, drawn: Path, usual: str) -> None:
    grid = usual[usual.index('id="predictions"') : usual.index("The worst mistakes")]
    cards = re.findall(r"<figcaption>(.*?)</figcaption>", grid, re.DOTALL)
    assert len(cards) == 30
    assert all(re.search(r"\d(\.\d)?\N{NO-BREAK SPACE}%", card) for card in cards)
    assert all(("✓" in card) != ("✗" in card) for card in cards)
    again = render(tmp_path, drawn, tuned=True, tuning=2, rejected=REJECTED, each=12)
    assert (
        grid.split("figcaption")[1::2]
        == (
            again[again.index('id="predictions"') : again.index("The worst")].split("figcaption")[
                1::2
            ]
        )
    )


@pytest.mark.parametrize("count", [2, 21])
def test_few_classes_have_a_matrix_of_names_and_many_a_map_with_a_table(
    tmp_path: Path, drawn: Path, count: int
) -> None:
    classes = [f"class {number:03}" for number in range(count)]
    text = render(tmp_path, drawn, classes=classes, each=2, wrong=0.6, side=(8, 8))
    assert ('<table class="matrix' in text) == (count == 2)
    assert ("Confusion matrix of 21 classes" in text) == (count == 21)
    assert "Most confused classes" in text


def test_what_is_not_there_leaves_no_hole(tmp_path: Path, drawn: Path) -> None:
    text = render(
        tmp_path, drawn, absent=["bee"], wrong=0.0, epochs=1, environment=False, side=(20, 20)
    )
    words = Words(text).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "None: all 12 test images are classified correctly." in words
    assert "The head-only model on 12 test images. Chosen because" in words
    assert "Both models" not in words
    assert "No mistakes on 12 test images." in words
    assert "None: all files were usable images." in words
    assert "Each has 20 × 20 pixels" in words
    row = next(row for row in text.split("<tr>") if 'data-value="bee"' in row)
    assert row.count("–") == 3  # precision, recall and F1
    assert "nan" not in words.lower()
    assert "None<" not in text


def test_a_fine_tuning_that_was_not_kept_is_reported(tmp_path: Path, drawn: Path) -> None:
    text = render(tmp_path, drawn, tuning=2)
    assert "The choice between it and the fine-tuned model was made on the validation split" in text


TRIALS: Mapping[str, Any] = {
    "stage": "fine_tune",
    "trials": [
        {
            "unfreeze": name, "learning_rate": 1e-4, "validation_loss": loss,
            "validation_accuracy": 0.875, "best_epoch": 2, "epochs": 5,
        }
        for name, loss in (("<b>block_7</b>", 0.5), ("block_12", 0.25))
    ],
    "loss_difference": -0.0625, "loss_difference_low": -0.125, "loss_difference_high": None,
    "loss_difference_p": 0.03,
}  # fmt: skip
BECAUSE = "so (-0.0625 per image), the best of 2 trials: unfreeze block_12, learning_rate 0.0001"


def with_trials(folder: Path, drawn: Path, because: str, statistics: Mapping[str, Any]) -> str:
    """The page of a run whose fine-tuning left these statistics."""
    known = read_params(made.PARAMS)
    page = Page(folder / "index.html", known.model_dump())
    files = made.make(folder / "files", because=because, tuning=2)
    write_json(files.run_statistics / "fine_tune.json", statistics)
    show(Run(files), drawn, page, known.seed, known.make_report)
    return page.path.read_text(encoding="utf-8")


def test_several_trials_are_listed_with_the_interval_that_decided(
    tmp_path: Path, drawn: Path
) -> None:
    text = with_trials(tmp_path, drawn, BECAUSE, TRIALS)
    words = " ".join(Words(text).text.replace("\N{NO-BREAK SPACE}", " ").split())
    assert words.index("0.2500") < words.index("0.5000")
    assert (
        "The best trial against the head: −0.0625 per image, 80 % interval −0.1250 to ∞, p 0.0300"
    ) in words
    assert "It is kept: p must be at most 0.1." in words
    assert "<b>block_7" not in text
    assert "<b>block_7</b>" in Words(text).text


@pytest.mark.parametrize(
    ("because", "changes"),
    [
        (BECAUSE.replace("block_12", "block_13"), {}),  # statistics of another run
        (BECAUSE, {"loss_difference": -0.07}),
        (BECAUSE, {"trials": TRIALS["trials"][:1]}),
        ("fine-tuning is off", {"trials": []}),
    ],
)
def test_trials_of_another_run_are_not_shown(
    because: str, changes: Mapping[str, Any], tmp_path: Path, drawn: Path
) -> None:
    assert "Trials of the fine-tuning" not in with_trials(
        tmp_path, drawn, because, {**TRIALS, **changes}
    )


def test_damaged_statistics_of_trials_are_refused(tmp_path: Path, drawn: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"fine_tune\.json"):
        with_trials(tmp_path, drawn, BECAUSE, {**TRIALS, "trials": [{"unfreeze": 1}]})


def test_a_run_without_epochs_is_shown(tmp_path: Path, drawn: Path) -> None:
    few = tmp_path / "figures"
    shutil.copytree(drawn, few, ignore=shutil.ignore_patterns("loss*", "accuracy*", "batches*"))
    assert "No epochs were recorded." in render(tmp_path, few, epochs=0)


def test_single_sigmoids_have_a_score_of_their_own(tmp_path: Path) -> None:
    files = made.make(tmp_path / "files")
    metrics = read_evaluation(files.metrics)
    titles = [row["title"] for row in results.scores(metrics)["rows"]]
    for name in ("head", "model"):
        metrics[name]["binary_accuracy"] = 0.75
    more = [row["title"] for row in results.scores(metrics)["rows"]]
    assert more == [*titles, "Accuracy of the single outputs"]


def test_formats_of_any_name_and_depth_are_listed(tmp_path: Path, drawn: Path) -> None:
    agreement = {"probability_differs_at_most": 0.02, "same_first_guess": 8}
    text = render(tmp_path, drawn, formats={"tflite_int8": {"bytes": 5, "pixels": agreement}})
    assert "<td>tflite int8 · pixels</td><td>8</td><td>≤ 0.02</td>" in text
    assert "<code>saved_model/</code></td><td>3.0\N{NO-BREAK SPACE}MB" in text


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (pages.percent(None), "–"),
        (pages.percent(0.9942), "99.4 %"),
        (pages.chance(0.99999), "> 99.9 %"),
        (pages.chance(1.0), "100.0 %"),
        (pages.points(-0.0123), "−1.2 points"),
        (pages.size(999), "999 bytes"),
        (pages.size(1_234_567), "1.2 MB"),
        (pages.duration(12.34), "12.3 s"),
        (pages.duration(200), "3 min 20 s"),
        (pages.duration(9000), "2 h 30 min"),
        (pages.energy(0.0049), "4.9 mWh"),
        (pages.energy(2500), "2.5 kWh"),
        (pages.shown(None), "null"),
        (pages.shown([]), "none"),
        (pages.shown((1, "a")), "1, a"),
        (pages.shown(1e-05), "1e-05"),
    ],
)
def test_numbers_are_formatted_for_people(said: str, expected: str) -> None:
    assert said.replace("\N{NO-BREAK SPACE}", " ") == expected


def test_the_date_is_that_of_the_last_stage_before_the_page(tmp_path: Path, drawn: Path) -> None:
    files = made.make(tmp_path / "files")
    assert ended(files.run_statistics) is None  # as in a clone
    for stage, second in (("evaluate", 1_800_000_000.5), ("make_report", 1_900_000_000.0)):
        entry = {"stage": stage, "run": "one", "seconds": 1.0, "ended": second}
        (files.run_statistics / f"{stage}.json").write_text(json.dumps(entry))
    known = read_params(made.PARAMS)
    page = Page(tmp_path / "index.html", known.model_dump())
    show(Run(files), drawn, page, known.seed, known.make_report)
    text = page.path.read_text(encoding="utf-8")
    assert '<time datetime="2027-01-15T08:00+00:00">15 January 2027, 08:00 UTC</time>' in text


def test_without_fine_tuning_no_model_is_shown_twice(tmp_path: Path, drawn: Path) -> None:
    text = Words(render(tmp_path, drawn, tuned=False, tuning=0)).text
    assert text.count("Macro-averaged F1") == 1
    assert "All scores" in text
    for twice in ("the same)", "final model", "Head only and"):
        assert twice not in text.partition("Predictions")[2].partition("Classes")[0]
        assert twice not in text.partition("Chosen because")[2].partition("Calibration")[0]


@pytest.mark.parametrize("each", [1, 2, 30])
def test_no_image_is_both_most_and_least_certain(each: int, tmp_path: Path) -> None:
    run = Run(made.make(tmp_path / "files", each=each, classes=["a", "b", "c"]))
    chosen = images.choose(run.predictions, 5, 1)
    assert not set(chosen["most"]) & set(chosen["least"])
    assert len(chosen["most"]) == len(chosen["least"]) == min(12, 3 * each // 2)
    certainty = run.predictions.model.max(axis=1)
    assert min(certainty[chosen["most"]]) >= max(certainty[chosen["least"]])


def test_the_audit_is_shown_with_the_images_and_the_forecasts(drawn: Path, tmp_path: Path) -> None:
    text = render(tmp_path, drawn, classes=made.HOSTILE)
    found = Words(text)
    assert "Can the data be trusted?" in found.text
    assert "5 labels are probably wrong" in found.text
    assert "probability that its label is wrong" in found.text
    assert ": 97.0\N{NO-BREAK SPACE}%" in found.text
    assert "They are not alike" in found.text
    assert "60.0\N{NO-BREAK SPACE}% to 90.0\N{NO-BREAK SPACE}%" in found.text
    assert sum("train image" in str(of.get("alt")) for tag, of in found.tags if tag == "img") > 5
    assert "<script>document.title='owned'" not in text


def test_a_run_without_an_audit_says_so(drawn: Path, tmp_path: Path) -> None:
    text = render(tmp_path, drawn, audited=False)
    assert "Not audited" in Words(text).text
