"""The files below a folder: no path leads out of it, and no link is followed in any part of one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from swapped_files import swapping

from dagster_beiwe.file_tree import FileTree, NotAFolderError, OutsideTreeError


@pytest.mark.parametrize("path", ["", "/outside", "/etc/hostname", "..", "a/../b", "./a", "a//b", "a/", "a\0b"])
def test_a_tree_has_no_paths_that_lead_out_of_it(tmp_path: Path, path: str) -> None:
    """Nor such that mean another."""
    with pytest.raises(OutsideTreeError):
        FileTree(tmp_path).open(path)
    with pytest.raises(OutsideTreeError):
        [*FileTree(tmp_path).read_all([path], limit_bytes=9)]
    with pytest.raises(OutsideTreeError):
        FileTree(tmp_path).create(path)


def test_a_tree_used_folder_by_folder_opens_each_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files it has; afterwards none is open."""
    opened: list[str] = []
    real = os.open

    def count(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_DIRECTORY:
            opened.append(os.path.basename(path))
        return real(path, flags, mode, dir_fd=dir_fd)

    tree = FileTree(tmp_path / "tree")
    tree.create("a/b/0").close()
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "open", count)
    with tree.folder_by_folder() as own:
        for number in range(1, 4):
            own.create(f"a/b/.{number}").close()
            own.move(f"a/b/.{number}", f"a/b/{number}")
        own.move("a/b/0", "c/0")
        own.create("a/b/4").close()
        assert opened == ["tree", "a", "b", "tree", "c", "c"]  # the last one had to be made
        assert own.names("a/b") == ["1", "2", "3", "4"]
    assert tree.names("c") == ["0"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_tree_used_folder_by_folder_keeps_few_folders_open(tmp_path: Path) -> None:
    """Files move between any two of many, and none is taken for another one."""
    tree = FileTree(tmp_path / "tree")
    before = len(os.listdir("/proc/self/fd"))
    with tree.folder_by_folder() as own:
        for number in range(100):
            own.create(f"{number}/file").close()
        assert len(os.listdir("/proc/self/fd")) <= before + 32
        for number in range(100):
            own.move(f"{number}/file", f"{(number * 7 + 50) % 100}/from {number}")
        assert len(os.listdir("/proc/self/fd")) <= before + 32
    moved = {path.name: path.parent.name for path in (tmp_path / "tree").rglob("from*")}
    assert moved == {f"from {number}": str((number * 7 + 50) % 100) for number in range(100)}
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_tree_used_folder_by_folder_follows_no_link_either(tmp_path: Path) -> None:
    """What it refused once, it refuses again."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").symlink_to(tmp_path / "outside")
    with FileTree(tmp_path / "tree").folder_by_folder() as own:
        for _ in range(2):
            with pytest.raises(NotAFolderError):
                own.create("a/file")
        with pytest.raises(OutsideTreeError):
            own.create("b/../../file")
    assert not os.listdir(tmp_path / "outside")


def test_no_link_is_followed_below_a_tree(tmp_path: Path) -> None:
    """In no part of a path, by nothing that reads, writes, lists or removes."""
    tree, outside = FileTree(tmp_path / "tree"), tmp_path / "outside"
    tree.create("a/b/file").close()
    shutil.copytree(tmp_path / "tree" / "a", outside)
    shutil.rmtree(tmp_path / "tree" / "a")
    (tmp_path / "tree" / "a").symlink_to(outside)
    for use in (
        lambda: tree.open("a/b/file"),
        lambda: [*tree.read_all(["a/b/file"], limit_bytes=9)],
        lambda: tree.create("a/b/new"),
        lambda: tree.open_new("a/b/new"),
        lambda: tree.link("a/b/file", "file"),
        lambda: tree.names("a/b"),
        lambda: tree.delete_folders("a/b"),
    ):
        with pytest.raises(NotAFolderError):
            use()
    tree.delete("a/b/file")
    assert tree.status("a/b/file") is None
    assert [*tree.walk("")] == [*tree.walk("a")] == ["a"]
    assert sorted(os.listdir(outside / "b")) == ["file"]


def test_a_folder_exchanged_while_a_path_is_walked_is_noticed(tmp_path: Path) -> None:
    """Each is opened from the one above, so there is no moment between looking and opening."""
    tree, outside = FileTree(tmp_path / "tree"), tmp_path / "outside"
    tree.create("a/b/file").close()
    (outside / "b").mkdir(parents=True)

    def exchange() -> None:
        (tmp_path / "tree" / "a").rename(tmp_path / "moved")
        (tmp_path / "tree" / "a").symlink_to(outside)

    with swapping("b", exchange):
        tree.create("a/b/new").close()
    assert not os.listdir(outside / "b")
    assert sorted(os.listdir(tmp_path / "moved" / "b")) == ["file", "new"]


def test_a_root_may_be_a_link_and_what_lies_in_it_where_that_is_said(tmp_path: Path) -> None:
    """The lake's own place is the operator's to choose, and a study's."""
    (tmp_path / "disk" / "study").mkdir(parents=True)
    (tmp_path / "disk" / "linked").symlink_to(tmp_path / "disk" / "study")
    (tmp_path / "tree").symlink_to(tmp_path / "disk")
    FileTree(tmp_path / "tree", links_in_root=True).create("linked/a/file").close()
    assert [*FileTree(tmp_path / "tree").walk("study")] == ["study/a/file"]
    with pytest.raises(NotAFolderError):
        FileTree(tmp_path / "tree").open("linked/a/file")


def test_a_tree_nested_beyond_reason_is_walked_and_removed(tmp_path: Path) -> None:
    """Deeper than the system takes paths."""
    tree, name = FileTree(tmp_path / "tree"), "folder" * 20
    with tree.folder("/".join([name] * 40), make=True):
        pass
    assert [*tree.walk("")] == []
    tree.delete_folders(name)
    assert tree.names("") == []
