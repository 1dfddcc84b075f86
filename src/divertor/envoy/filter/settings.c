#include "settings.h"
#include "table.h"

#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {"cookie", "header", "address", "prefix", "bearer", "ja3", "ja4"};

const char *divertor_kind(enum kind kind) { return kinds[kind]; }

static bool copy(char *to, view from) {
  if (from.length >= MAX_TEXT) return false;
  memcpy(to, from.at, from.length);
  to[from.length] = 0;
  return true;
}

static bool hexadecimal(view from, uint64_t *word) {
  char digits[17];
  if (from.length != 16) return false;
  memcpy(digits, from.at, 16);
  digits[16] = 0;
  char *end;
  *word = strtoull(digits, &end, 16);
  return *end == 0;
}

static bool number(view from, uint64_t *word) {
  char digits[16], *end;
  if (from.length == 0 || from.length >= sizeof digits) return false;
  memcpy(digits, from.at, from.length);
  digits[from.length] = 0;
  *word = strtoull(digits, &end, 10);
  return *end == 0;
}

static view take(view *line, char until) {
  const char *stop = line->length ? memchr(line->at, until, line->length) : NULL;
  size_t length = stop ? (size_t)(stop - line->at) : line->length, skip = stop ? length + 1 : length;
  view word = {line->at, length};
  line->at += skip;
  line->length -= skip;
  return word;
}

static bool is(view word, const char *literal) {
  return word.length == strlen(literal) && memcmp(word.at, literal, word.length) == 0;
}

static bool read_kind(view word, enum kind *kind) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (is(word, kinds[i])) {
      *kind = (enum kind)i;
      return true;
    }
  return false;
}

/* `24/64` */
static bool read_bits(struct key *key) {
  view rest = {key->name, key->length}, first = take(&rest, '/');
  uint64_t four, six;
  if (!number(first, &four) || !number(rest, &six) || four > 32 || six > 128) return false;
  key->bits[0] = (int)four;
  key->bits[1] = (int)six;
  return true;
}

static bool read_key(struct route *route, view line) {
  if (route->keys == MAX_KEYS) return false;
  struct key *key = &route->key[route->keys];
  view kind = take(&line, ' '), k0 = take(&line, ' '), k1 = take(&line, ' ');
  if (!read_kind(kind, &key->kind) || !hexadecimal(k0, &key->k0) || !hexadecimal(k1, &key->k1)) return false;
  if (!copy(key->name, line)) return false;
  key->length = line.length;
  if (key->kind == PREFIX && !read_bits(key)) return false;
  route->keys++;
  return true;
}

static bool read_line(struct route *route, view line) {
  uint64_t word;
  view name = take(&line, ' ');
  if (is(name, "scope")) return copy(route->scope, line);
  if (is(name, "token")) return line.length > 0 && copy(route->token, line);
  if (is(name, "spool")) return copy(route->spool, line);
  if (is(name, "table")) return (route->table = divertor_file(line.at, line.length)) >= 0;
  if (is(name, "recent")) return (route->recent = divertor_file(line.at, line.length)) >= 0;
  if (is(name, "key")) return read_key(route, line);
  if (is(name, "seconds")) return number(line, &route->seconds);
  if (is(name, "body")) return number(line, &route->body);
  if (is(name, "simulate")) return (route->simulate = number(line, &word) && word == 1);
  return false;
}

struct route *divertor_settings(view text) {
  struct route *route = calloc(1, sizeof *route);
  if (!route) return NULL;
  route->table = route->recent = -1;
  while (text.length) {
    view line = take(&text, '\n');
    if (line.length == 0 || read_line(route, line)) continue;
    envoy_dynamic_module_callback_log(LOG_ERROR, (view){"divertor: settings with a line nobody can read", 46});
    free(route);
    return NULL;
  }
  return route;
}
