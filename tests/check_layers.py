#!/usr/bin/env python3
"""Structure checks that need no device: includes point only downward, each public header compiles
alone as C and C++, each kernel is clean OpenCL C 1.2 and is named in a unit test or a C twin, and no
size arithmetic hides in malloc()."""
import concurrent.futures
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ORDER = ["cl/base", "cl/device", "cl/tensor", "cl/ops", "cl/graph", "cl/models", "server", "api"]
LIBRARIES = {  # header pattern -> files that may include it
    r"CL/": r"cl/device/.*",
    r"microhttpd\.h": r"server/http[^/]*\.[ch]",
    r"libwebsockets\.h": r"server/ws[^/]*\.[ch]",
    r"webp/": r"server/(codec|vp8l|clips|media/)[^/]*.*",
    r"(png|jpeglib)\.h": r"server/codec[^/]*\.[ch]",
    r"lib(av|sw)[a-z]+/": r"server/(media/.*|codec_gif\.c)",
}


def layer(path):
    if path.startswith("cl/viz/"):
        return "cl/models", "viz"  # beside models: neither sees the other
    for name in ORDER:
        if path.startswith(name + "/"):
            return name, name
    return None, None


def check_includes(errors):
    for file in sorted(ROOT.glob("**/*.[ch]")):
        path = file.relative_to(ROOT).as_posix()
        own, own_name = layer(path)
        if own is None or path.startswith(("build", "tests", "clients")):
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+([<"])([^">]+)[">]', line)
            if not match:
                continue
            kind, target = match.groups()
            if kind == '"':
                their, their_name = layer(target)
                if their is None:
                    if not target.startswith(("cl/kernels/",)) and "/" in target:
                        errors.append(f"{path}:{number}: include by path from the root: {target}")
                    continue
                if path == "server/main.c":
                    continue
                above = ORDER.index(their) > ORDER.index(own)
                beside = their == own and {own_name, their_name} == {"viz", "cl/models"}
                if above or beside:
                    errors.append(f"{path}:{number}: {own_name} may not include {target}")
            else:
                for pattern, allowed in LIBRARIES.items():
                    if re.match(pattern, target) and not re.fullmatch(allowed, path):
                        errors.append(f"{path}:{number}: <{target}> belongs only in {allowed}")


def run(command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, (done.stderr or done.stdout).strip()


def compile_header(path):
    flags = ["-fsyntax-only", "-D_POSIX_C_SOURCE=200809L", f"-I{ROOT}"]
    problems = []
    for command in (["cc", "-std=c17", "-x", "c"], ["clang", "-std=c++17", "-x", "c++"]):
        if shutil.which(command[0]) is None:
            continue
        code, text = run(command + flags + ["-Wall", "-Werror", "-Wno-unused-function", path])
        if code:
            problems.append(f"{path}: does not compile alone with {' '.join(command)}:\n{text}")
    return problems


# A line "// check: -DT=float" in a kernel file checks it with those options.
def compile_kernel(path):
    text = (ROOT / path).read_text()
    variants = re.findall(r"^// check: *(.*)$", text, re.M) or [""]
    problems = []
    for options in variants:
        code, output = run(["clang", "-x", "cl", "-cl-std=CL1.2", "-Xclang", "-finclude-default-header",
                            "-Wall", "-Werror", "-Wno-unused-function", "-fsyntax-only", "-Icl/kernels",
                            "-DTS_CHECK=1", *options.split(), path])
        if code:
            problems.append(f"{path} ({options or 'no options'}): \n{output}")
    return problems


def check_kernels_tested(errors):
    tests = "\n".join(f.read_text(errors="replace") for f in ROOT.glob("tests/**/*.[ch]"))
    users = "\n".join(f.read_text(errors="replace") for folder in ("cl", "server", "tests")
                      for f in ROOT.glob(f"{folder}/**/*.c"))
    for file in sorted(ROOT.glob("cl/kernels/*.cl")):
        if not re.search(rf"\b(ref_)?{file.stem}", tests):
            errors.append(f"cl/kernels/{file.name}: no unit test or C twin names its family")
        if f'"{file.stem}"' not in users:
            errors.append(f"cl/kernels/{file.name}: no code asks for the family \"{file.stem}\"")


def check_allocations(errors):
    for folder in ("cl", "server", "api"):
        for file in sorted((ROOT / folder).glob("**/*.c")):
            for number, line in enumerate(file.read_text().splitlines(), 1):
                if re.search(r"\b(malloc|realloc)\([^)]*[\w\])] \* [\w(]", line):
                    errors.append(f"{file.relative_to(ROOT)}:{number}: size arithmetic in an allocation; "
                                  "use calloc(n, size) or ts_realloc_array()")


def main():
    errors = []
    check_includes(errors)
    check_kernels_tested(errors)
    check_allocations(errors)
    headers = [p for folder in ("cl", "server", "api", "clients/c")
               for p in sorted(f.relative_to(ROOT).as_posix() for f in ROOT.glob(f"{folder}/**/*.h"))]
    kernels = sorted(f.relative_to(ROOT).as_posix() for f in ROOT.glob("cl/kernels/*.cl"))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for problems in pool.map(compile_header, headers):
            errors += problems
        if shutil.which("clang"):
            for problems in pool.map(compile_kernel, kernels):
                errors += problems
        else:
            errors.append("clang is missing: kernels were not checked")
    print(f"{len(headers)} headers, {len(kernels)} kernel families, {len(errors)} problems")
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
