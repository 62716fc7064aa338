#!/usr/bin/env python3
"""How many instructions a create, a claim, a completion and a heartbeat take, against the figures that are kept.

    tests/instructions.py            compares; ends with 1 if one is more than 3 % off, up or down
    tests/instructions.py --update   writes tests/instructions.json anew
    tests/instructions.py --bound    counts a caller with a token that is bound to a project, too; with --update, keeps that as well
    tests/instructions.py --release  counts a program near to a release, and compares with nothing: for figures of how fast it is

A time depends on the machine and on what else it does, the number of executed instructions hardly: counts of one program differ by a
percent at most. Counted by callgrind: one request at a time over one connection, with the commit that each has to itself.

What is compared is the program that the gate's tests have built (`.ci/run`), as another would take longer to build than all else here. Its counts are 2.5 times
those of a release, and grow by the same causes but one: where a copy is held in memory, this program reads the file as well and compares.

Needs `valgrind`; ends with 75 if it is not there: then nothing was tested.
"""

import argparse
import glob
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

NOT_TESTED = 75
#: How far a figure may be from the kept one, in percent.
BOUND = 3.0
#: What is counted, in the order of the program, and how often: `apps/server/examples/instructions.rs`.
KINDS = ['create', 'claim', 'complete', 'heartbeat']
#: By whom: nobody in particular, and the bearer of a token that is bound to a project.
CALLERS = {'': [], 'bound ': ['bound']}
#: In so many parts, of so many requests each. What a server does from time to time falls into one of them, and is not in their median.
PARTS = 5
COUNTED = 10
HERE = os.path.dirname(os.path.abspath(__file__))
KEPT = os.path.join(HERE, 'instructions.json')


def build(release):
    """The program, and where it lies."""
    # As the gate builds its tests, so that after them there is nothing to build.
    as_tests = ['--workspace', '--all-features', '--example', 'instructions', '--test', 'transitions']
    near_release = ['--profile', 'counted', '--package', 'baton-server', '--example', 'instructions']
    command = ['cargo', 'build', *(near_release if release else as_tests), '--locked', '--quiet']
    root = os.path.dirname(HERE)
    environment = dict(os.environ) if release else {
        **os.environ,
        'CARGO_INCREMENTAL': '0',
        'CARGO_PROFILE_DEV_DEBUG': '0',
        'CLIPPY_ARGS': '-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__',
        'RUSTC_WORKSPACE_WRAPPER': os.path.join(root, '.ci', 'rustc'),
    }
    subprocess.run(command, check=True, cwd=root, env=environment)
    told = subprocess.run(['cargo', 'metadata', '--no-deps', '--format-version', '1', '--locked'], check=True, capture_output=True, cwd=HERE)
    target = json.loads(told.stdout)['target_directory']
    return os.path.join(target, 'counted' if release else 'debug', 'examples', 'instructions')


def count(program, caller):
    """Instructions of one request of each kind by a caller."""
    with tempfile.TemporaryDirectory(prefix='baton-instructions-') as folder:
        out = os.path.join(folder, 'counted')
        command = ['valgrind', '--tool=callgrind', f'--callgrind-out-file={out}', '--dump-before=*baton_phase*', program, folder, *CALLERS[caller]]
        # Settings of whoever runs this are not those that were counted.
        environment = {key: value for key, value in os.environ.items() if not key.startswith('BATON_')}
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
        if ran.returncode != 0:
            sys.exit(f'the program that is counted failed:\n{ran.stderr[-2000:]}')
        parts = sorted(glob.glob(f'{out}.*'), key=lambda part: int(part.rsplit('.', 1)[1]))
        totals = []
        for part in parts:
            with open(part, encoding='utf-8') as file:
                totals.append(int(re.search(r'^totals: (\d+)', file.read(), re.MULTILINE)[1]))
        # The first part is the start with what fills the caches.
        if len(totals) != 1 + len(KINDS) * PARTS:
            sys.exit(f'expected {1 + len(KINDS) * PARTS} parts of a profile, got {len(totals)}')
        of_kinds = (totals[first:first + PARTS] for first in range(1, len(totals), PARTS))
        return {caller + kind: round(statistics.median(of_kind) / COUNTED) for kind, of_kind in zip(KINDS, of_kinds)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--update', action='store_true', help='keep what is counted now')
    parser.add_argument('--bound', action='store_true', help='count also a caller with a token that is bound to a project')
    parser.add_argument('--release', action='store_true', help='count a program near to a release, and compare with nothing')
    given = parser.parse_args()
    update = given.update
    if update and given.release:
        parser.error('--update keeps what is compared, which is not a release')
    if shutil.which('valgrind') is None:
        print('!!! NOT TESTED: the instructions of a request: there is no valgrind', file=sys.stderr)
        sys.exit(NOT_TESTED)
    program = build(given.release)
    counted = count(program, '')
    if given.bound:
        bound = count(program, 'bound ')
        ratio = sum(bound['bound ' + kind] for kind in KINDS[:3]) / sum(counted[kind] for kind in KINDS[:3])
        print(f'a lifecycle by a bound caller takes {ratio:.3f} of one without a token')
        counted |= bound
    if given.release:
        for kind, now in counted.items():
            print(f'{kind:15} {now:8,} instructions')
        return
    compiler = subprocess.run(['rustc', '--version'], check=True, capture_output=True, text=True).stdout.strip()
    with open(KEPT, encoding='utf-8') as file:
        kept = json.load(file)
    if update:
        # What was not counted now stays as it was.
        kept = {'compiler': compiler, 'instructions': kept['instructions'] | counted}
        with open(KEPT, 'w', encoding='utf-8') as file:
            json.dump(kept, file, indent=2)
            file.write('\n')
    off = False
    for kind, now in counted.items():
        before = kept['instructions'].get(kind)
        if before is None:
            off = True
            print(f'{kind:15} {now:8,} instructions, held against none   <-- no figure of it is kept')
            continue
        change = 100 * (now / before - 1)
        wrong = abs(change) > BOUND
        off |= wrong
        print(f'{kind:15} {now:8,} instructions, {change:+5.1f} % of {before:,}{"   <-- more than 3 % off" if wrong else ""}')
    if off and compiler != kept['compiler']:
        print(f'they were kept of {kept["compiler"]}, this is {compiler}: if nothing else has changed, keep those of now')
    if off:
        print('if this is meant, keep the new figures: tests/instructions.py --update' + (' --bound' if given.bound else ''))
        sys.exit(1)


if __name__ == '__main__':
    main()
