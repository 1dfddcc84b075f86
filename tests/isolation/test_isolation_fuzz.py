"""Everything a client controls in the filter, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.isolation.conftest import FILTER

SECONDS = 3

DRIVER = r"""
#include "keys.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const pieces[] = {"session", "sess", "=", ";", ";", "\"", "\"", "\\", "\\141", "\\37",
  "%61", "%6", "%", "+", " ", "\t", ",", "[", "]", ":", "\xc2\xa0", "\xa0", "\xe2\x80", "\xe2\x80\x83",
  "\xef\xbb\xbf", "\xff", "a"};
enum { PIECES = sizeof pieces / sizeof *pieces };

/* Memory of exactly the text's size, so that one byte too far is seen. */
static view any_text(void) {
  size_t length = 0, count = rand() % 24;
  char draft[16384];
  for (size_t i = 0; i < count; i++) {
    const char *piece = pieces[rand() % PIECES];
    size_t times = rand() % 400 == 0 ? 600 : 1;
    while (times--) memcpy(draft + length, piece, strlen(piece)), length += strlen(piece);
    if (length > 8000) break;
  }
  char *own = malloc(length ? length : 1);
  memcpy(own, draft, length);
  return (view){own, length};
}

int main(int count, char **arguments) {
  time_t end = time(NULL) + atoi(arguments[1]);
  unsigned long runs = 0;
  (void)count;
  srand(7);
  char *store = malloc(MAX_VALUE), *again = malloc(MAX_VALUE);
  while (time(NULL) < end) {
    for (int turn = 0; turn < 1000; turn++, runs++) {
      view line = any_text(), other = any_text(), value, reading, found;
      view name = rand() % 2 ? (view){"session", 7} : other;
      size_t from = 0, values = 0;
      while (divertor_next_cookie(line, name, &from, store, &value)) {
        if (++values > line.length) return 1;
        for (int which = 0; which < READINGS; which++)
          if (divertor_reading(value, which, again, &reading))
            divertor_fingerprint(1, 2, reading.at, reading.length);
      }
      if (from < line.length) return 2;
      if (divertor_set_cookie(line, store, &found, &value))
        divertor_fingerprint(3, 4, value.at, value.length);
      value = divertor_address(line);
      if (value.length > line.length) return 3;
      divertor_fingerprint(5, 6, value.at, value.length);
      free((void *)other.at);
      free((void *)line.at);
    }
  }
  free(store);
  free(again);
  printf("%lu\n", runs);
  return 0;
}
"""


def test_no_text_of_a_client_leads_outside_its_memory(compiler: str, tmp_path: Path) -> None:
    source, program = tmp_path / "fuzz.c", tmp_path / "fuzz"
    source.write_text(DRIVER)
    flags = [
        "-std=c11",
        "-D_GNU_SOURCE",
        "-O1",
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ]
    empty = tmp_path / "empty.c"
    empty.write_text("int main(void) { return 0; }")
    if subprocess.run([compiler, *flags, "-o", str(program), str(empty)], capture_output=True).returncode:
        pytest.skip("this compiler has no sanitizers")
    sources = [str(source), str(FILTER / "keys.c")]
    subprocess.run([compiler, *flags, "-I", str(FILTER), "-o", str(program), *sources], check=True)
    run = subprocess.run([program, str(SECONDS)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout) >= 10000
