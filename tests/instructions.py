#!/usr/bin/env python3
"""How many instructions a create, a claim, a completion and a heartbeat take, against the figures that are kept.

    tests/instructions.py            compares; ends with 1 if one is more than 3 % off, up or down
    tests/instructions.py --update   writes tests/instructions.json anew

A time depends on the machine and on what else it does, the number of executed instructions hardly: three counts of one program differ by less
than half a percent. Counted by callgrind: one request at a time over one connection, with the commit that each has to itself.

Needs `valgrind`; ends with 75 if it is not there: then nothing was tested.
"""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

NOT_TESTED = 75
#: How far a figure may be from the kept one, in percent.
BOUND = 3.0
#: What is counted, in the order of the program, and how often: `apps/server/examples/instructions.rs`.
KINDS = ['create', 'claim', 'complete', 'heartbeat']
COUNTED = 50
HERE = os.path.dirname(os.path.abspath(__file__))
KEPT = os.path.join(HERE, 'instructions.json')


def build():
    """The program, as good as a release, and where it lies."""
    command = ['cargo', 'build', '--profile', 'counted', '--package', 'baton-server', '--example', 'instructions', '--locked', '--quiet']
    subprocess.run(command, check=True, cwd=os.path.dirname(HERE))
    told = subprocess.run(['cargo', 'metadata', '--no-deps', '--format-version', '1', '--locked'], check=True, capture_output=True, cwd=HERE)
    return os.path.join(json.loads(told.stdout)['target_directory'], 'counted', 'examples', 'instructions')


def count(program):
    """Instructions of one request of each kind."""
    with tempfile.TemporaryDirectory(prefix='baton-instructions-') as folder:
        out = os.path.join(folder, 'counted')
        command = ['valgrind', '--tool=callgrind', f'--callgrind-out-file={out}', '--dump-before=*baton_phase*', program, folder]
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
        if len(totals) != 1 + len(KINDS):
            sys.exit(f'expected {1 + len(KINDS)} parts of a profile, got {len(totals)}')
        return {kind: round(total / COUNTED) for kind, total in zip(KINDS, totals[1:])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--update', action='store_true', help='keep what is counted now')
    update = parser.parse_args().update
    if shutil.which('valgrind') is None:
        print('!!! NOT TESTED: the instructions of a request: there is no valgrind', file=sys.stderr)
        sys.exit(NOT_TESTED)
    counted = count(build())
    compiler = subprocess.run(['rustc', '--version'], check=True, capture_output=True, text=True).stdout.strip()
    if update:
        with open(KEPT, 'w', encoding='utf-8') as file:
            json.dump({'compiler': compiler, 'instructions': counted}, file, indent=2)
            file.write('\n')
    with open(KEPT, encoding='utf-8') as file:
        kept = json.load(file)
    off = False
    for kind, now in counted.items():
        before = kept['instructions'][kind]
        change = 100 * (now / before - 1)
        wrong = abs(change) > BOUND
        off |= wrong
        print(f'{kind:9} {now:8,} instructions, {change:+5.1f} % of {before:,}{"   <-- more than 3 % off" if wrong else ""}')
    if off and compiler != kept['compiler']:
        print(f'they were kept of {kept["compiler"]}, this is {compiler}: if nothing else has changed, keep those of now')
    if off:
        print('if this is meant, keep the new figures: tests/instructions.py --update')
        sys.exit(1)


if __name__ == '__main__':
    main()
