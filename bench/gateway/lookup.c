/* What the decision about one request costs without Envoy around it: the gateway's own C, asked about made-up
 * requests, each of another session that is not isolated. Prints nanoseconds as JSON.
 *
 * Usage: lookup SETTINGS TABLE REQUESTS; the settings are what the routes give the filter. */
#include "request.h"
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINE = 96, ROUNDS = 5 };

struct asked {
  const char *cookie;
};

/* The sources log what they cannot read through Envoy. */
void envoy_dynamic_module_callback_log(int level, text message) {
  fprintf(stderr, "%d: %.*s\n", level, (int)message.length, message.at);
}

static const struct {
  const char *name, *value;
} common[] = {
    {":authority", "shop.example"},
    {":path", "/shop/basket?item=42&size=m"},
    {":method", "GET"},
    {"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
    {"accept-encoding", "gzip, deflate, br"},
    {"accept-language", "en-GB,en;q=0.7,nl;q=0.3"},
    {"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
    {"x-forwarded-for", "203.0.113.7"},
    {"x-envoy-external-address", "203.0.113.7"},
};

static bool get(void *at, int map, text name, view *value, size_t index, size_t *count) {
  (void)map, (void)count;
  *value = (view){NULL, 0};
  if (index) return false;
  if (name.length == 6 && memcmp(name.at, "cookie", 6) == 0) {
    const char *cookie = ((struct asked *)at)->cookie;
    *value = (view){cookie, strlen(cookie)};
    return true;
  }
  for (size_t i = 0; i < sizeof common / sizeof *common; i++)
    if (strlen(common[i].name) == name.length && memcmp(common[i].name, name.at, name.length) == 0) {
      *value = (view){common[i].value, strlen(common[i].value)};
      return true;
    }
  return false;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static uint64_t next(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

static double smaller(double a, double b) { return a < b ? a : b; }

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  static char settings[1 << 16];
  FILE *file = fopen(argv[1], "r");
  size_t length = file ? fread(settings, 1, sizeof settings, file) : 0;
  struct route *route = divertor_settings((view){settings, length});
  size_t requests = strtoull(argv[3], NULL, 10);
  char *lines = malloc(requests * LINE);
  if (!route || !lines || !requests) return 1;
  uint64_t state = 1, met = 0;
  for (size_t i = 0; i < requests; i++)
    snprintf(lines + i * LINE, LINE, "theme=dark; session=%016lx%016lx; lang=en", (unsigned long)next(&state),
             (unsigned long)next(&state));
  double decision = 1e18, lookup = 1e18;
  for (int round = 0; round < ROUNDS; round++) {
    double start = now();
    for (size_t i = 0; i < requests; i++) {
      struct asked asked = {lines + i * LINE};
      view value;
      source from = {get, &asked};
      met += divertor_isolated_by(from, route, &value) != NULL;
    }
    decision = smaller(decision, (now() - start) / (double)requests);
    const shared *table = divertor_open(divertor_file(argv[2], strlen(argv[2])), false);
    start = now();
    for (size_t i = 0; table && i < requests; i++) met += divertor_in_table(table, next(&state), 1);
    lookup = smaller(lookup, (now() - start) / (double)requests);
  }
  printf("{\"decision_ns\": %.1f, \"table_ns\": %.1f, \"met\": %lu}\n", decision, lookup, (unsigned long)met);
  return 0;
}
