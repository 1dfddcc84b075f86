/* A reader process of the isolation table: `lookups FILE COUNT SEED` looks up random fingerprints and prints the
 * hits; `lookups FILE watch` looks up, until its input ends, keys that are always there (1, 3, 5, …, 199, each
 * times 2^40 + 1) and keys that never are (the even multiples), and prints "rounds misses wrong hits".
 */
#include "keys.h"
#include "table.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t state;

static uint64_t next(void) { /* splitmix64 */
  uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int count(const shared *table, uint64_t lookups) {
  uint64_t hits = 0;
  double before = seconds();
  for (uint64_t i = 0; i < lookups; i++) {
    uint64_t fingerprint = next();
    hits += divertor_in_table(table, fingerprint ? fingerprint : 1, 1);
  }
  printf("%llu %.1f\n", (unsigned long long)hits, (seconds() - before) * 1e9 / (double)lookups);
  return 0;
}

static bool has(int file, uint64_t number) {
  const shared *table = divertor_open(file, false);
  return table && divertor_any(table) && divertor_in_table(table, number * ((1ULL << 40) + 1), 1);
}

static int watch(int file) {
  uint64_t rounds = 0, misses = 0, wrong = 0;
  struct pollfd input = {0, POLLIN, 0};
  puts("ready");
  fflush(stdout);
  while (poll(&input, 1, 0) == 0) {
    for (uint64_t number = 1; number < 200; number += 2) {
      misses += !has(file, number);
      wrong += has(file, number + 1);
    }
    rounds++;
  }
  printf("%llu %llu %llu\n", (unsigned long long)rounds, (unsigned long long)misses, (unsigned long long)wrong);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  int file = divertor_file(argv[1], strlen(argv[1]));
  if (strcmp(argv[2], "watch") == 0) return watch(file);
  state = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
  const shared *table = divertor_open(file, false);
  return table ? count(table, strtoull(argv[2], NULL, 10)) : 1;
}
