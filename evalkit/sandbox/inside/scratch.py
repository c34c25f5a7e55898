"""The folder that programs may write: how much is in it, and emptying it."""

import os

SCRATCH_BYTES = 32 << 20


def size_of(folder: str) -> int:
    """Bytes below a folder while a program changes it. What cannot be looked into is taken to be too much: a folder
    that may not be listed, or one that lies deeper than there are descriptors."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    directory = entry.is_dir(follow_symlinks=False)
                    size = size_of(entry.path) if directory else entry.stat(follow_symlinks=False).st_blocks * 512
                except FileNotFoundError:
                    continue
                total += 4096 + size
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RecursionError):
        return SCRATCH_BYTES + 1
    return total


def wipe(folder: str) -> None:
    """Empty a folder, whatever a program made of it: folders that may not be listed, however deep. It holds no
    descriptor, and changes the working folder instead; nobody else is left to move things about."""
    above: list[str] = []
    refused: set[tuple[str, ...]] = set()
    os.chdir(folder)
    while True:
        below = None
        for name in os.listdir("."):
            if (*above, name) in refused:
                continue
            try:
                os.unlink(name)
            except (IsADirectoryError, PermissionError):
                below = name
                break
            except OSError:
                refused.add((*above, name))
        if below is not None:
            try:
                os.chmod(below, 0o700)
                os.chdir(below)
            except OSError:
                refused.add((*above, below))
            else:
                above.append(below)
        elif above:
            name = above.pop()
            os.chdir("..")
            try:
                os.rmdir(name)
            except OSError:
                refused.add((*above, name))
        else:
            return
