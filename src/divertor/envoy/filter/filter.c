/* Divertor's filter in Envoy: who is isolated, and who has just attacked.
 *
 * On a request it looks the client's keys (a cookie, a header, the client address) up in a table that the
 * gateway agent keeps in shared memory, and marks an isolated request, so that the routes send it to the
 * audited version. On a request that the sensor diverted it remembers the attacker at once, in a second shared
 * file that this filter itself writes: the isolation holds from the next request on, whatever the control plane
 * does. On the answer to such a request it follows the session: a cookie that the audited version renews, or
 * hands out for the first time, is still the same attacker.
 *
 * Why native code: the same filter in Lua cost 25 to 30 microseconds a request, a third of Envoy's throughput;
 * this one costs about one. All it reads from clients goes through keys.c.
 */
#include "keys.h"
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_KEYS = 8, MAX_TEXT = 512 };
/* Bytes of the access log that the keys isolated by one request may take. */
enum { MAX_NOTED = 48 << 10 };
/* No client sends one cookie this often. Looking at more would be work, and places in the recent file, that an
 * attacker can order. */
enum { MAX_COOKIES = 8 };
static const uint64_t FOREVER = 0xffffffffULL;

enum kind { COOKIE, HEADER, ADDRESS };

struct key {
  enum kind kind;
  uint64_t k0, k1;
  char name[MAX_TEXT];
  size_t length;
};

struct route {
  char scope[MAX_TEXT], token[MAX_TEXT];
  int table, recent;
  uint64_t seconds;
  size_t keys;
  struct key key[MAX_KEYS];
};

/* What is known of one request. */
struct request {
  bool diverted; /* the sensor has just handed it over */
  bool followed; /* isolated by something that is the attacker's own: renewed sessions are his too */
  bool unknown;  /* diverted, and nothing in the request tells who it was */
  char *noted;   /* the keys it isolated, for the access log */
  size_t length;
};

#define TEXT(literal) ((text){literal, sizeof(literal) - 1})
static const text MARK = {"x-divertor-isolated", 19};
static const text TOKEN = {"x-divertor-token", 16};

static text as_text(const char *at) { return (text){at, strlen(at)}; }

/* Configuration: lines `name value`, written by resources.py ------------------------------------------- */

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

static view take(view *line) {
  const char *space = line->length ? memchr(line->at, ' ', line->length) : NULL;
  size_t length = space ? (size_t)(space - line->at) : line->length;
  view word = {line->at, length};
  size_t skip = space ? length + 1 : length;
  line->at += skip;
  line->length -= skip;
  return word;
}

static bool is(view word, const char *literal) {
  return word.length == strlen(literal) && memcmp(word.at, literal, word.length) == 0;
}

static bool read_key(struct route *route, view line) {
  if (route->keys == MAX_KEYS) return false;
  struct key *key = &route->key[route->keys];
  view kind = take(&line), k0 = take(&line), k1 = take(&line);
  if (is(kind, "cookie")) key->kind = COOKIE;
  else if (is(kind, "header")) key->kind = HEADER;
  else if (is(kind, "address")) key->kind = ADDRESS;
  else return false;
  if (!hexadecimal(k0, &key->k0) || !hexadecimal(k1, &key->k1) || !copy(key->name, line)) return false;
  key->length = line.length;
  route->keys++;
  return true;
}

static bool read_line(struct route *route, view line) {
  view name = take(&line);
  if (is(name, "scope")) return copy(route->scope, line);
  if (is(name, "token")) return line.length > 0 && copy(route->token, line);
  if (is(name, "table")) return (route->table = divertor_file(line.at, line.length)) >= 0;
  if (is(name, "recent")) return (route->recent = divertor_file(line.at, line.length)) >= 0;
  if (is(name, "key")) return read_key(route, line);
  if (!is(name, "seconds") || line.length == 0 || line.length > 10) return false;
  char digits[11];
  memcpy(digits, line.at, line.length);
  digits[line.length] = 0;
  char *end;
  route->seconds = strtoull(digits, &end, 10);
  return *end == 0;
}

const char *envoy_dynamic_module_on_program_init(void) { return ABI_VERSION; }

/* The listener's filter has no settings of its own: everything comes with the routes, which change hot. */
static const char nothing = 0;
const void *envoy_dynamic_module_on_http_filter_config_new(void *envoy, view name, view config) {
  (void)envoy, (void)name, (void)config;
  return &nothing;
}
void envoy_dynamic_module_on_http_filter_config_destroy(const void *config) { (void)config; }

const void *envoy_dynamic_module_on_http_filter_per_route_config_new(view name, view config) {
  (void)name;
  struct route *route = calloc(1, sizeof *route);
  if (!route) return NULL;
  route->table = route->recent = -1;
  while (config.length) {
    const char *stop = memchr(config.at, '\n', config.length);
    size_t length = stop ? (size_t)(stop - config.at) : config.length;
    if (length && !read_line(route, (view){config.at, length})) {
      envoy_dynamic_module_callback_log(LOG_ERROR, TEXT("divertor: the isolation filter was given a line it cannot read"));
      free(route);
      return NULL;
    }
    size_t skip = stop ? length + 1 : length;
    config.at += skip;
    config.length -= skip;
  }
  return route;
}
void envoy_dynamic_module_on_http_filter_per_route_config_destroy(const void *config) { free((void *)config); }

/* Requests ------------------------------------------------------------------------------------------------- */

static bool header(void *stream, int map, text name, size_t index, view *value) {
  return envoy_dynamic_module_callback_http_get_header(stream, map, name, value, index, NULL) && value->at;
}

static bool equal(view value, const char *secret) {
  size_t length = strlen(secret);
  if (value.length != length) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < length; i++) difference |= (unsigned char)(value.at[i] ^ secret[i]);
  return difference == 0;
}

/* Goes through the values a request holds for a key, until `visit` answers true. Answers true as well when there
 * are too many to look at: whoever sends those hides something. */
typedef bool visitor(void *context, const struct key *key, view value);
static bool each_value(void *stream, const struct key *key, visitor *visit, void *context) {
  view value;
  if (key->kind == ADDRESS) {
    if (!envoy_dynamic_module_callback_http_filter_get_attribute_string(stream, SOURCE_ADDRESS, &value)) return false;
    return visit(context, key, divertor_address(value));
  }
  if (key->kind == HEADER) {
    text name = {key->name, key->length};
    for (size_t i = 0; header(stream, REQUEST_HEADERS, name, i, &value); i++)
      if ((value = divertor_trimmed(value)).length && visit(context, key, value)) return true;
    return false;
  }
  char rewritten[MAX_VALUE];
  view cookies, name = {key->name, key->length};
  int seen = 0;
  for (size_t i = 0; header(stream, REQUEST_HEADERS, TEXT("cookie"), i, &cookies); i++) {
    size_t from = 0;
    while (divertor_next_cookie(cookies, name, &from, rewritten, &value))
      if (++seen > MAX_COOKIES || visit(context, key, value)) return true;
  }
  return false;
}

static void note(void *stream, const char *name, text value) {
  envoy_dynamic_module_callback_http_set_dynamic_metadata_string(stream, TEXT("divertor"), as_text(name), value);
}

static const char *kind_name(enum kind kind) {
  return kind == COOKIE ? "cookie" : kind == HEADER ? "header" : "address";
}

/* Goes through the fingerprints of what a value may mean to an application, until `visit` answers true. */
typedef bool fingerprint_visitor(void *context, uint64_t fingerprint);
static bool each_fingerprint(const struct key *key, view value, fingerprint_visitor *visit, void *context) {
  char store[MAX_VALUE];
  view reading;
  for (int which = 0; which < (key->kind == COOKIE ? READINGS : 1); which++)
    if (divertor_reading(value, which, store, &reading) &&
        visit(context, divertor_fingerprint(key->k0, key->k1, reading.at, reading.length)))
      return true;
  return false;
}

struct remembered {
  const shared *recent;
  uint64_t expiry, now;
};
static bool remember(void *context, uint64_t fingerprint) {
  const struct remembered *until = context;
  divertor_remember(until->recent, fingerprint, until->expiry, until->now);
  return false;
}

/* Appends `text` so that it holds neither blank, bar, percent sign nor anything unprintable. */
static void encode(struct request *request, view text) {
  static const char digits[] = "0123456789ABCDEF";
  for (size_t i = 0; i < text.length && request->length + 3 <= MAX_NOTED; i++) {
    unsigned char c = (unsigned char)text.at[i];
    if (c > 0x20 && c < 0x7f && c != '%' && c != '|') {
      request->noted[request->length++] = (char)c;
    } else {
      request->noted[request->length++] = '%';
      request->noted[request->length++] = digits[c >> 4];
      request->noted[request->length++] = digits[c & 15];
    }
  }
}

/* `kind|name|value`, separated by blanks: every key, because the record is made from it. */
static void note_key(void *stream, struct request *request, const char *name, const struct key *key, view value) {
  if (!request->noted && !(request->noted = malloc(MAX_NOTED))) return;
  if (request->length + 64 + 3 * (key->length + value.length) > MAX_NOTED) return;
  if (request->length) request->noted[request->length++] = ' ';
  encode(request, as_text(kind_name(key->kind)));
  request->noted[request->length++] = '|';
  encode(request, (view){key->name, key->length});
  request->noted[request->length++] = '|';
  encode(request, value);
  note(stream, name, (text){request->noted, request->length});
}

static void isolate(void *stream, struct request *request, const struct route *route, const struct key *key,
                    view value) {
  uint64_t now = (uint64_t)time(NULL);
  uint64_t expiry = route->seconds == 0 || now + route->seconds >= FOREVER ? FOREVER : now + route->seconds;
  struct remembered until = {divertor_open(route->recent, true), expiry, now};
  if (until.recent) each_fingerprint(key, value, remember, &until);
  if (value.length > MAX_VALUE) value.length = MAX_VALUE;
  note_key(stream, request, "added", key, value);
}

struct attacker {
  void *stream;
  struct request *request;
  const struct route *route;
  bool found;
};
static bool isolate_value(void *context, const struct key *key, view value) {
  struct attacker *attacker = context;
  isolate(attacker->stream, attacker->request, attacker->route, key, value);
  attacker->found = true;
  return false; /* a cookie sent twice: the application may have read either */
}

/* By the first key the request carries. The address is the last resort: it waits for the answer, which may hand
 * the attacker a session. */
static bool isolate_request(void *stream, struct request *request, const struct route *route) {
  struct attacker attacker = {stream, request, route, false};
  for (size_t i = 0; i < route->keys && !attacker.found; i++)
    if (route->key[i].kind != ADDRESS) each_value(stream, &route->key[i], isolate_value, &attacker);
  return attacker.found;
}

static void isolate_address(void *stream, struct request *request, const struct route *route) {
  struct attacker attacker = {stream, request, route, false};
  for (size_t i = 0; i < route->keys && !attacker.found; i++)
    if (route->key[i].kind == ADDRESS) each_value(stream, &route->key[i], isolate_value, &attacker);
}

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
  if (!each_fingerprint(key, value, is_isolated, context)) return false;
  /* It may lie in a buffer that is gone after this call; what the record needs is copied. */
  static __thread char kept[MAX_VALUE];
  size_t length = value.length < MAX_VALUE ? value.length : MAX_VALUE;
  memcpy(kept, value.at, length);
  lookup->found = (view){kept, length};
  return true;
}

static const struct key *isolated_by(void *stream, const struct route *route, view *value) {
  const shared *table = divertor_open(route->table, false), *recent = divertor_open(route->recent, true);
  struct lookup lookup = {table && divertor_any(table) ? table : NULL, recent && divertor_any(recent) ? recent : NULL,
                          (uint64_t)time(NULL), {NULL, 0}};
  if (!lookup.table && !lookup.recent) return NULL;
  for (size_t i = 0; i < route->keys; i++)
    if (each_value(stream, &route->key[i], look_up, &lookup)) {
      *value = lookup.found;
      return &route->key[i];
    }
  return NULL;
}

const void *envoy_dynamic_module_on_http_filter_new(const void *config, void *stream) {
  (void)config, (void)stream;
  return calloc(1, sizeof(struct request));
}
void envoy_dynamic_module_on_http_filter_destroy(const void *state) {
  struct request *request = (struct request *)state;
  if (request) free(request->noted);
  free(request);
}

int envoy_dynamic_module_on_http_filter_request_headers(void *stream, const void *state, bool end) {
  (void)end;
  struct request *request = (struct request *)state;
  const struct route *route = envoy_dynamic_module_callback_get_most_specific_route_config(stream);
  if (!route) return HEADERS_CONTINUE;
  view token;
  if (header(stream, REQUEST_HEADERS, TOKEN, 0, &token) && equal(token, route->token)) {
    request->diverted = true;
    note(stream, "scope", as_text(route->scope));
    request->unknown = !isolate_request(stream, request, route);
    return HEADERS_CONTINUE;
  }
  view value = {NULL, 0};
  const struct key *key = isolated_by(stream, route, &value);
  if (key) {
    if (key->kind != ADDRESS && value.at) {
      note_key(stream, request, "by", key, value);
      request->length = 0; /* what is added by the answer is a list of its own */
    }
    request->followed = key->kind != ADDRESS; /* behind an address there may be others */
    note(stream, "scope", as_text(route->scope));
    note(stream, "key", as_text(kind_name(key->kind)));
    envoy_dynamic_module_callback_http_set_header(stream, REQUEST_HEADERS, MARK, TEXT("1"));
    envoy_dynamic_module_callback_http_clear_route_cache(stream);
  }
  return HEADERS_CONTINUE;
}

/* Answers -------------------------------------------------------------------------------------------------- */

static bool follow(void *stream, struct request *request, const struct route *route) {
  view line;
  bool found = false;
  for (size_t i = 0; header(stream, RESPONSE_HEADERS, TEXT("set-cookie"), i, &line); i++) {
    char rewritten[MAX_VALUE];
    view name, value;
    if (!divertor_set_cookie(line, rewritten, &name, &value)) continue;
    for (size_t k = 0; k < route->keys; k++) {
      const struct key *key = &route->key[k];
      if (key->kind != COOKIE || key->length != name.length || memcmp(key->name, name.at, name.length) != 0) continue;
      isolate(stream, request, route, key, value);
      found = true;
    }
  }
  return found;
}

/* Whether the audited version answered at all. While it is down, nobody hands out sessions: isolating the address
 * instead would shut out everybody behind it, for an attack that has been refused anyway. */
static bool served(void *stream) {
  view status;
  return header(stream, RESPONSE_HEADERS, TEXT(":status"), 0, &status) && status.length == 3 && status.at[0] != '5';
}

static void drop(void *stream, text name) {
  envoy_dynamic_module_callback_http_set_header(stream, RESPONSE_HEADERS, name, (text){NULL, 0});
}

/* The sensor asked for a divert, but Envoy could not replay the request (its body was too large, its host no
 * host). The attack is refused and the attacker isolated, if he has a key of his own: a refusal is easily provoked,
 * and behind his address there are others. The client sees neither the redirect nor where it pointed. */
static void refuse(void *stream, struct request *request, const struct route *route) {
  view status;
  bool redirect = header(stream, RESPONSE_HEADERS, TEXT(":status"), 0, &status) && status.length == 3 &&
                  memcmp(status.at, "307", 3) == 0;
  drop(stream, TOKEN);
  if (!redirect) return;
  envoy_dynamic_module_callback_http_set_header(stream, RESPONSE_HEADERS, TEXT(":status"), TEXT("403"));
  drop(stream, TEXT("location"));
  drop(stream, TEXT("set-cookie"));
  note(stream, "scope", as_text(route->scope));
  isolate_request(stream, request, route);
}

int envoy_dynamic_module_on_http_filter_response_headers(void *stream, const void *state, bool end) {
  (void)end;
  struct request *request = (struct request *)state;
  view token;
  bool asked = header(stream, RESPONSE_HEADERS, TOKEN, 0, &token);
  if (!asked && !request->diverted && !request->followed) return HEADERS_CONTINUE;
  const struct route *route = envoy_dynamic_module_callback_get_most_specific_route_config(stream);
  if (!route) {
    drop(stream, TOKEN);
    return HEADERS_CONTINUE;
  }
  if (asked && !equal(token, route->token)) drop(stream, TOKEN); /* an application's own header: not ours to obey */
  else if (asked) refuse(stream, request, route);
  if (!request->diverted && !request->followed) return HEADERS_CONTINUE;
  if (!follow(stream, request, route) && request->unknown && served(stream)) isolate_address(stream, request, route);
  return HEADERS_CONTINUE;
}

int envoy_dynamic_module_on_http_filter_request_body(void *stream, const void *state, bool end) {
  (void)stream, (void)state, (void)end;
  return BODY_CONTINUE;
}
int envoy_dynamic_module_on_http_filter_request_trailers(void *stream, const void *state) {
  (void)stream, (void)state;
  return TRAILERS_CONTINUE;
}
int envoy_dynamic_module_on_http_filter_response_body(void *stream, const void *state, bool end) {
  (void)stream, (void)state, (void)end;
  return BODY_CONTINUE;
}
int envoy_dynamic_module_on_http_filter_response_trailers(void *stream, const void *state) {
  (void)stream, (void)state;
  return TRAILERS_CONTINUE;
}
void envoy_dynamic_module_on_http_filter_stream_complete(void *stream, const void *state) { (void)stream, (void)state; }

/* Hooks Envoy insists on finding, for callouts and schedulers that this filter never starts. They ignore their
 * arguments, so their C type does not matter to the caller. */
#define NEVER(name) \
  void envoy_dynamic_module_on_http_filter_##name(void) {}
NEVER(http_callout_done)
NEVER(http_stream_headers)
NEVER(http_stream_data)
NEVER(http_stream_trailers)
NEVER(http_stream_complete)
NEVER(http_stream_reset)
NEVER(scheduled)
NEVER(config_scheduled)
NEVER(config_http_callout_done)
NEVER(config_http_stream_headers)
NEVER(config_http_stream_data)
NEVER(config_http_stream_trailers)
NEVER(config_http_stream_complete)
NEVER(config_http_stream_reset)
NEVER(downstream_above_write_buffer_high_watermark)
NEVER(downstream_below_write_buffer_low_watermark)

/* Nothing to add to an answer that Envoy makes itself: it goes out as it is. */
int envoy_dynamic_module_on_http_filter_local_reply(void) { return 0; }
