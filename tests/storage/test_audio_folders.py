"""Which files of a folder are recordings: through links, without what is hidden, and what is said of others."""

from pathlib import Path

import pytest

from speechml.errors import UserError
from speechml.storage import audio_folders
from speechml.storage.audio_folders import find_audio, list_recordings


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def recordings_in(root: Path, once: bool = False) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_audio(root, once).paths]


@pytest.mark.parametrize("target", ["absolute", "relative", "link to a link", "file"])
def test_links_to_speakers_are_followed(target: str, tmp_path: Path) -> None:
    root, other = make(tmp_path / "root", "s1/a.wav"), make(tmp_path / "other", "b.wav", "deep/c.flac")
    if target == "file":
        (root / "s2").mkdir()
        (root / "s2" / "b.wav").symlink_to(other / "b.wav")
        assert recordings_in(root) == ["s1/a.wav", "s2/b.wav"]
        return
    if target == "link to a link":
        (tmp_path / "between").symlink_to(other)
    (root / "s2").symlink_to({"absolute": other, "relative": Path("../other")}.get(target, tmp_path / "between"))
    assert recordings_in(root) == ["s1/a.wav", "s2/b.wav", "s2/deep/c.flac"]


@pytest.mark.parametrize("where", ["s1/up", "s1/self", "s1/deep/root", "s1/x"])
def test_links_in_a_circle_end(where: str, tmp_path: Path) -> None:
    root = make(tmp_path / "root", "s1/a.wav", "s1/deep/b.wav")
    target = {"s1/up": "..", "s1/self": ".", "s1/deep/root": str(root), "s1/x": "deep/.."}[where]
    (root / where).symlink_to(target)
    assert recordings_in(root) == ["s1/a.wav", "s1/deep/b.wav"]


def test_two_conditions_may_share_the_clean_folder_by_a_link(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "one/a.wav")
    (root / "two").symlink_to("one")
    assert recordings_in(root) == ["one/a.wav", "two/a.wav"]


@pytest.mark.parametrize("link", ["latest", "s9", "latest/a.wav"])
def test_what_links_lead_to_a_second_time_is_left_out_where_it_counts_once(
    link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(tmp_path / "root", "s1/a.wav", "s2/b.wav", "s2/s1/c.wav")
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(root / "s1" / "a.wav" if link.endswith(".wav") else "s1")
    assert recordings_in(root, once=True) == ["s1/a.wav", "s2/b.wav", "s2/s1/c.wav"]
    notes = find_audio(root, once=True).notes
    left_out = link if link.endswith(".wav") else f"{link}/a.wav"
    assert notes == [f"links in root/ lead to files that are in it anyway: 1 left out, as {left_out}"]
    monkeypatch.chdir(root)
    assert recordings_in(Path(), once=True) == ["s1/a.wav", "s2/b.wav", "s2/s1/c.wav"]


def test_folders_that_all_link_to_one_another_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_folders, "MOST_FOLDERS", 500)
    for i in range(8):
        make(tmp_path, f"s{i}/a.wav")
        for j in range(8):
            (tmp_path / f"s{i}" / f"to{j}").symlink_to(tmp_path / f"s{j}")
    with pytest.raises(UserError, match="lead round and round"):
        find_audio(tmp_path)


@pytest.mark.parametrize("name", ["gone.wav", "speaker2", "gone.FLAC"])
def test_a_link_to_nothing_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "s/b.wav")
    (tmp_path / "s" / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=rf"s/{name} is a link to .*nowhere, which is not there"):
        find_audio(tmp_path)


def test_a_link_to_itself_that_is_no_recording_is_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a.wav")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "notes.txt")
    assert recordings_in(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("name", [".ipynb_checkpoints/a-checkpoint.wav", "._a.wav", "s/.cache/b.wav", ".git/x/y.mp3"])
def test_what_is_hidden_is_no_data(name: str, tmp_path: Path) -> None:
    assert recordings_in(make(tmp_path / "root", "a.wav", name)) == ["a.wav"]


@pytest.mark.parametrize("ending", [".aiff", ".aif", ".au", ".opus", ".m4a", ".AIFF", ".wma", ".caf", ".3gp", ".mp2"])
def test_recordings_of_other_formats_are_read_or_counted(ending: str, tmp_path: Path) -> None:
    folder = find_audio(make(tmp_path / "root", "a.wav", *(f"s/m{i}{ending}" for i in range(9)), "LICENSE", "read.txt"))
    if len(folder.paths) == 1:
        assert folder.notes == [f"9 {ending.lower()} files in root/ are not used: convert to wav or flac"]
    else:
        assert (len(folder.paths), folder.notes) == (10, [])


def test_a_folder_of_other_formats_alone_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no audio files .* 2 \.m4a files in root/ are not used: convert"):
        find_audio(make(tmp_path / "root", "a.m4a", "b.m4a"))


def test_what_a_command_does_not_use_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list_recordings(make(tmp_path / "root", "a.wav", "b.m4a")) == [tmp_path / "root" / "a.wav"]
    assert "note: 1 .m4a file in root/ is not used" in capsys.readouterr().err
