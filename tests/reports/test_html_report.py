"""The report of a run: complete in one file, and rendered by a real browser."""

import html.parser
import json
import re
import shutil
import subprocess

import pytest

from starjax.commands import report
from starjax.configs import common
from starjax.reports import html_report
from starjax.runs import integrity
from starjax.training.run import train_and_test
from tests.processes import run_in_process

CHROMIUM = shutil.which("chromium")
# A script that writes what the browser rendered into the page, where --dump-dom shows it.
PROBE = """<script>addEventListener('load', () => {
  const found = {headings: [...document.querySelectorAll('h1, h2')].map(h => h.textContent),
                 images: [...document.images].map(i => [i.naturalWidth, i.getBoundingClientRect().width]),
                 width: document.documentElement.scrollWidth};
  const text = JSON.stringify(found).replaceAll('&', '+').replaceAll('<', '(').replaceAll('>', ')');
  document.body.insertAdjacentHTML('beforeend', '<p id="found">' + text + '</p>');
});</script>"""


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    config = common.get_config("deep_sets")
    config.output_base, config.data.dataset = str(tmp_path_factory.mktemp("report")), str(small)
    config.data.target_keys = ("time", "total_mass_within_2x_r_tidal")
    config.train.batch_size, config.train.max_epochs = 32, 2
    config.name = "of <two> & more"
    return train_and_test(config)


def browse(path):
    """Return the page as rendered by a browser, and the messages on its console."""
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--enable-logging=stderr", "--window-size=1200,900", "--virtual-time-budget=5000"),
            *(f"--user-data-dir={path.parent / 'profile'}", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.slow
def test_a_browser_renders_headings_and_images_without_errors(finished, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(html_report.html_page(finished).replace("</body>", PROBE + "</body>"))
    shown, console = browse(page)
    assert not console
    # The last match: the source of the probe matches as well.
    found = json.loads(re.findall(r'<p id="found">(\{.*?)</p>', shown)[-1])
    assert found["headings"] == [
        "of (two) + more",
        "Results",
        "Calibration",
        "Training",
        "Config",
        "Data card",
    ]
    assert len(found["images"]) == 5
    assert all(natural > 300 and shown > 300 for natural, shown in found["images"])
    assert found["width"] <= 1200  # wide tables scroll by themselves


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.slow
def test_errors_on_the_console_are_seen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><title>t</title><script>nothing()</script><img src=missing.png>")
    assert any("nothing is not defined" in line for line in browse(page)[1])


def test_the_page_is_self_contained_and_describes_the_run(finished):
    content = html_report.html_page(finished)
    sources = []

    class Sources(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            sources.extend(value for name, value in attributes if name in ("src", "href"))

    Sources().feed(content)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "of &lt;two&gt; &amp; more" in content
    assert "config.optim.learning_rate" in content
    assert json.loads(finished.config.read_text())["dataset"]["fingerprint"][:16] in content


def test_the_card_of_a_data_set_contains_neither_scripts_nor_links_to_images(finished, tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text(
        "# Of me\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<script>alert(1)</script> ![x](https://example.org/x.png)\n"
    )
    monkeypatch.setattr(html_report, "dataset_directory", lambda name: tmp_path)
    content = html_report.html_page(finished)
    assert "<h1>Of me</h1>" in content
    assert "<td>2</td>" in content
    assert "<script>" not in content
    assert 'src="https' not in content


def test_runs_of_earlier_versions_have_no_joint_calibration(finished, copy_without):
    assert "all targets together" in html_report.html_page(finished)
    earlier = copy_without(finished, "figures/joint-calibration.png")
    tested = json.loads(earlier.test_metrics.read_text())
    del tested["joint"]
    integrity.mark_finished(earlier, tested)
    assert "all targets together" not in html_report.html_page(earlier)


def test_widths_and_errors_have_units(finished):
    content = html_report.html_page(finished)
    assert re.search(r"<td>[\d,.]+ Myr</td>", content)
    assert re.search(r"<td>[\d,.]+ Msun</td>", content)
    assert "members by validation loss" not in content  # one member


def test_the_command_writes_into_the_run_directory_or_elsewhere(finished, tmp_path, capsys):
    run_in_process(report, f"--run={finished.path}")
    assert (finished.path / "report.html").read_text() == html_report.html_page(finished)
    run_in_process(report, f"--run={finished.path}", f"--out={tmp_path / 'a' / 'b.html'}")
    assert (tmp_path / "a" / "b.html").exists()
    assert "wrote" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("config.json", "holds no run"),
        ("test_metrics.json", "not finished"),
        ("coverage.csv", "coverage.csv missing"),
        ("figures", "figures missing"),
    ],
)
def test_the_error_names_a_missing_file(finished, copy_without, name, said):
    copy = copy_without(finished, name)
    with pytest.raises(ValueError, match=said):
        html_report.html_page(copy)
