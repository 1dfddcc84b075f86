"""Everything a client controls in the filter, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.isolation.conftest import FILTER

from divertor.isolation.table import Recent, Table

SECONDS = 3

DRIVER = r"""
#include "record.h"
#include "request.h"
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

/* A request of four headers, any of which may be asked for under any name. */
static view headers[4];
static bool ask(void *at, int map, text name, view *value, size_t index, size_t *count) {
  (void)at, (void)map, (void)count;
  if ((name.length + index) % 3 == 2 || index > 3) return false;
  *value = headers[index];
  return true;
}
static bool never(void *context, const struct key *key, view value) {
  (*(unsigned long *)context) += divertor_fingerprint(key->k0, key->k1, value.at, value.length);
  return false;
}

static void one_request(struct route *route) {
  unsigned long sum = 0;
  view value;
  source from = {ask, NULL};
  for (int i = 0; i < 4; i++) headers[i] = any_text();
  for (int kind = COOKIE; kind <= JA4; kind++) {
    struct key key = {.kind = (enum kind)kind, .name = "session", .length = 7};
    key.bits[0] = rand() % 33, key.bits[1] = rand() % 129;
    divertor_each_value(from, &key, never, &sum);
  }
  divertor_is_diverted(from, route);
  divertor_isolated_by(from, route, &value);
  const char *spool = rand() % 50 ? "/dev/null" : "/nowhere/at/all";
  struct record *record = divertor_record((uint64_t)(rand() % 5000), spool);
  for (int i = 0; record && i < 4; i++) {
    divertor_record_header(record, ASKED_HEADER, headers[i], headers[3 - i]);
    divertor_record_body(record, i % 2, headers[i]);
  }
  if (record && rand() % 2) divertor_record_write(record);
  else divertor_record_free(record);
  for (int i = 0; i < 4; i++) free((void *)headers[i].at);
}

int main(int count, char **arguments) {
  time_t end = time(NULL) + atoi(arguments[1]);
  unsigned long runs = 0;
  (void)count;
  srand(7);
  char *store = malloc(MAX_VALUE), *again = malloc(MAX_VALUE);
  struct route route = {.table = -1, .recent = -1, .token = "token"};
  while (time(NULL) < end) {
    for (int turn = 0; turn < 1000; turn++, runs++) {
      one_request(&route);
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


#: A driver that plays Envoy for every C file of the filter.
LIVES = Path(__file__).with_name("lives.c")
FLAGS = [
    "-std=c11",
    "-D_GNU_SOURCE",
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
]


@pytest.fixture(scope="module")
def sanitizing(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A compiler with its flags."""
    root = tmp_path_factory.mktemp("sanitizing")
    (root / "empty.c").write_text("int main(void) { return 0; }")
    command = [compiler, *FLAGS, "-o", str(root / "empty"), str(root / "empty.c")]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this compiler has no sanitizers")
    return [compiler, *FLAGS, "-I", str(FILTER)]


def test_no_text_of_a_client_leads_outside_its_memory(sanitizing: list[str], tmp_path: Path) -> None:
    source, program = tmp_path / "fuzz.c", tmp_path / "fuzz"
    source.write_text(DRIVER)
    sources = [str(source), *(str(FILTER / name) for name in ("keys.c", "request.c", "table.c", "record.c"))]
    subprocess.run([*sanitizing, "-o", str(program), *sources], check=True)
    run = subprocess.run([program, str(SECONDS)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout) >= 10000


def test_no_life_of_a_request_leads_outside_its_memory(sanitizing: list[str], tmp_path: Path) -> None:
    """Nor does a forged header stay, the token get out, or what was kept decide otherwise than Envoy."""
    program, settings, spool = tmp_path / "lives", tmp_path / "settings", tmp_path / "spool"
    Table.open(tmp_path / "table").close()
    Recent(tmp_path / "recent").close()
    keys = ("cookie", "session"), ("header", "x-api-key"), ("bearer", ""), ("ja3", ""), ("prefix", "32/128")
    files = (f"{name} {tmp_path / name}" for name in ("table", "recent", "spool"))
    lines = [f"key {kind} {at:016x} {at:016x} {name}" for at, (kind, name) in enumerate(keys, 1)]
    settings.write_text("\n".join(("scope a/b", "token token", "seconds 1", "body 5000", *files, *lines)))
    subprocess.run([*sanitizing, "-o", program, LIVES, *sorted(FILTER.glob("*.c"))], check=True)
    run = subprocess.run([program, str(SECONDS), settings, spool], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    lived, told = map(int, run.stdout.split())
    assert lived >= 1000 and told > 0
