"""The built wheel carries its data and finds it from any directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_runs_from_anywhere(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("cluster_training_simulator-*.whl")
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", site, wheel],
        check=True,
        capture_output=True,
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import simulator; assert sys.argv[1] in simulator.__file__, simulator.__file__\n"
        "from simulator.catalog import data_folder\n"
        "assert sys.argv[1] in str(data_folder('hardware_profiles'))\n"
        "sys.argv = ['simulator', 'run', 'four-stages', '--quiet']\n"
        "from simulator.cli.main import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(site)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "one step takes" in done.stdout
