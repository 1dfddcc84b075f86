#include "request.h"
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* No client sends one cookie this often. Looking at more would be work, and places in the recent file, that an
 * attacker can order. */
enum { MAX_COOKIES = 8 };
/* Dashes of a header's name that are looked for as `_` too. */
enum { MAX_DASHES = 4 };

#define TEXT(literal) ((text){literal, sizeof(literal) - 1})

bool divertor_header(source from, text name, size_t index, view *value) {
  return from.get(from.at, REQUEST_HEADERS, name, value, index, NULL) && value->at;
}

/* Keys --------------------------------------------------------------------------------------------------- */

static bool each_cookie(source from, const struct key *key, visitor *visit, void *context) {
  char rewritten[MAX_VALUE];
  view cookies, value, name = {key->name, key->length};
  int seen = 0;
  for (size_t i = 0; divertor_header(from, TEXT("cookie"), i, &cookies); i++) {
    size_t at = 0;
    while (divertor_next_cookie(cookies, name, &at, rewritten, &value))
      if (++seen > MAX_COOKIES || visit(context, key, value)) return true;
  }
  return false;
}

static bool each_header(source from, text name, const struct key *key, visitor *visit, void *context) {
  view value;
  for (size_t i = 0; divertor_header(from, name, i, &value); i++) {
    value = divertor_trimmed(value);
    if (key->kind == BEARER) {
      if (value.length < 7 || strncasecmp(value.at, "bearer", 6) != 0) continue;
      view token = {value.at + 6, value.length - 6};
      value = divertor_trimmed(token);
      if (value.length == token.length) continue; /* `Bearerxyz` is no bearer token */
    }
    if (value.length && visit(context, key, value)) return true;
  }
  return false;
}

/* Many application servers take `X_Api_Key` for `X-Api-Key`. */
static bool each_spelling(source from, const struct key *key, visitor *visit, void *context) {
  char name[MAX_TEXT];
  size_t dashes[MAX_DASHES], count = 0;
  for (size_t i = 0; i < key->length && count < MAX_DASHES; i++)
    if (key->name[i] == '-' || key->name[i] == '_') dashes[count++] = i;
  memcpy(name, key->name, key->length);
  for (unsigned spelling = 0; spelling < 1u << count; spelling++) {
    for (size_t i = 0; i < count; i++) {
      char own = key->name[dashes[i]], other = own == '-' ? '_' : '-';
      name[dashes[i]] = spelling >> i & 1 ? other : own;
    }
    if (each_header(from, (text){name, key->length}, key, visit, context)) return true;
  }
  return false;
}

/* Envoy writes the client's address here, after trusted proxies; what a client sends under this name is lost. */
static bool address_of(source from, view *address) {
  if (!divertor_header(from, TEXT("x-envoy-external-address"), 0, address)) return false;
  *address = divertor_address(*address);
  return true;
}

bool divertor_each_value(source from, const struct key *key, visitor *visit, void *context) {
  view value;
  char store[MAX_NETWORK];
  switch (key->kind) {
  case COOKIE:
    return each_cookie(from, key, visit, context);
  case HEADER:
    return each_spelling(from, key, visit, context);
  case BEARER:
    return each_header(from, TEXT("authorization"), key, visit, context);
  case JA3:
    return each_header(from, TEXT("x-divertor-ja3"), key, visit, context);
  case JA4:
    return each_header(from, TEXT("x-divertor-ja4"), key, visit, context);
  case ADDRESS:
    return address_of(from, &value) && visit(context, key, value);
  case PREFIX:
    if (!address_of(from, &value)) return false;
    value = divertor_network(value, key->bits, store);
    return value.length && visit(context, key, value);
  }
  return false;
}

/* How a key of a kind may be read, beside as it stands. */
static bool is_read(enum kind kind, int which) {
  return which == 0 || kind == COOKIE || (kind == BEARER && which == READINGS - 1);
}

bool divertor_each_fingerprint(const struct key *key, view value, fingerprint_visitor *visit, void *context) {
  char store[MAX_VALUE];
  view reading;
  int readings = key->kind == COOKIE && divertor_is_plain(value) ? 1 : READINGS;
  for (int which = 0; which < readings; which++)
    if (is_read(key->kind, which) && divertor_reading(value, which, store, &reading) &&
        visit(context, divertor_fingerprint(key->k0, key->k1, reading.at, reading.length)))
      return true;
  return false;
}

/* Who is isolated ---------------------------------------------------------------------------------------- */

struct lookup {
  const shared *table, *recent;
  uint64_t now;
  view found; /* the value that is isolated */
};

static bool is_isolated(void *context, uint64_t fingerprint) {
  const struct lookup *lookup = context;
  return (lookup->table && divertor_in_table(lookup->table, fingerprint, lookup->now)) ||
         (lookup->recent && divertor_in_recent(lookup->recent, fingerprint, lookup->now));
}

static bool look_up(void *context, const struct key *key, view value) {
  struct lookup *lookup = context;
  if (!divertor_each_fingerprint(key, value, is_isolated, context)) return false;
  /* It may lie in a buffer that is gone after this call; what the record needs is copied. */
  static __thread char kept[MAX_VALUE];
  size_t length = value.length < MAX_VALUE ? value.length : MAX_VALUE;
  memcpy(kept, value.at, length);
  lookup->found = (view){kept, length};
  return true;
}

const struct key *divertor_isolated_by(source from, const struct route *route, view *value) {
  const shared *table = divertor_open(route->table, false), *recent = divertor_open(route->recent, true);
  struct lookup lookup = {table && divertor_any(table) ? table : NULL, recent && divertor_any(recent) ? recent : NULL,
                          0, {NULL, 0}};
  if (!lookup.table && !lookup.recent) return NULL;
  lookup.now = (uint64_t)time(NULL);
  for (size_t i = 0; i < route->keys; i++)
    if (divertor_each_value(from, &route->key[i], look_up, &lookup)) {
      *value = lookup.found;
      return &route->key[i];
    }
  return NULL;
}

/* Diverts -------------------------------------------------------------------------------------------------- */

bool divertor_is_token(view value, const struct route *route) {
  size_t length = strlen(route->token);
  if (value.length != length) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < length; i++) difference |= (unsigned char)(value.at[i] ^ route->token[i]);
  return difference == 0;
}

bool divertor_is_diverted(source from, const struct route *route) {
  view token;
  return divertor_header(from, TEXT("x-divertor-token"), 0, &token) && divertor_is_token(token, route);
}
