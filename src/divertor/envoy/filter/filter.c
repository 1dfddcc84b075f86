/* Divertor's filter in Envoy: what is done about attackers.
 *
 * The routes have decided already (decide.c); only requests that concern an attacker come through here. On a request
 * that the sensor diverted the filter remembers the attacker at once, in a second shared file that it writes
 * itself: the isolation holds from the next request on, whatever the control plane does. On the answer it follows
 * the session: a cookie that the audited version renews, or hands out for the first time, is still the same
 * attacker. What was asked and answered is recorded (record.c), and noted for the access log.
 *
 * Why native code: the same filter in Lua cost 25 to 30 microseconds a request, a third of Envoy's throughput.
 * All it reads from clients goes through keys.c.
 */
#include "record.h"
#include "request.h"
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Bytes of the access log that the keys isolated by one request may take; headers and pieces of a body that are
 * looked at at once. */
enum { MAX_NOTED = 48 << 10, MAX_FIELDS = 256, MAX_PIECES = 256 };
static const uint64_t FOREVER = 0xffffffffULL;

/* What is known of one request. */
struct request {
  bool diverted; /* the sensor has just handed it over */
  bool followed; /* isolated by something that is the attacker's own: renewed sessions are his too */
  bool unknown;  /* diverted, and nothing in the request tells who it was */
  char *noted;   /* the keys it isolated, for the access log */
  size_t length;
  struct record *record;
};

#define TEXT(literal) ((text){literal, sizeof(literal) - 1})
static const text TOKEN = {"x-divertor-token", 16};

static text as_text(const char *at) { return (text){at, strlen(at)}; }

static bool header(void *stream, int map, text name, size_t index, view *value) {
  return envoy_dynamic_module_callback_http_get_header(stream, map, name, value, index, NULL) && value->at;
}

static source asked(void *stream) { return (source){envoy_dynamic_module_callback_http_get_header, stream}; }

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
  return divertor_settings(config);
}
void envoy_dynamic_module_on_http_filter_per_route_config_destroy(const void *config) { free((void *)config); }

/* Requests ------------------------------------------------------------------------------------------------- */

static void note(void *stream, const char *name, text value) {
  envoy_dynamic_module_callback_http_set_dynamic_metadata_string(stream, TEXT("divertor"), as_text(name), value);
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
  encode(request, as_text(divertor_kind(key->kind)));
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
  if (until.recent) divertor_each_fingerprint(key, value, remember, &until);
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

/* Whether a key is the client's alone: behind an address, and with the same TLS library, there are others. */
static bool is_own(const struct key *key) { return key->kind == COOKIE || key->kind == HEADER || key->kind == BEARER; }

/* By the first key the request carries. The address is the last resort: it waits for the answer, which may hand
 * the attacker a session. */
static bool isolate_request(void *stream, struct request *request, const struct route *route) {
  struct attacker attacker = {stream, request, route, false};
  for (size_t i = 0; i < route->keys && !attacker.found; i++)
    if (is_own(&route->key[i])) divertor_each_value(asked(stream), &route->key[i], isolate_value, &attacker);
  return attacker.found;
}

static void isolate_address(void *stream, struct request *request, const struct route *route) {
  struct attacker attacker = {stream, request, route, false};
  for (size_t i = 0; i < route->keys && !attacker.found; i++)
    if (!is_own(&route->key[i])) divertor_each_value(asked(stream), &route->key[i], isolate_value, &attacker);
}

/* Recording ------------------------------------------------------------------------------------------------ */

static void record_headers(void *stream, struct record *record, int map, enum tag tag) {
  header_field fields[MAX_FIELDS];
  size_t count = envoy_dynamic_module_callback_http_get_headers_size(stream, map);
  if (count > MAX_FIELDS || !envoy_dynamic_module_callback_http_get_headers(stream, map, fields)) return;
  for (size_t i = 0; i < count; i++)
    if (fields[i].name.length && fields[i].name.at[0] != ':' &&
        !(fields[i].name.length == TOKEN.length && memcmp(fields[i].name.at, TOKEN.at, TOKEN.length) == 0))
      divertor_record_header(record, tag, fields[i].name, fields[i].value);
}

static void record_field(void *stream, struct record *record, int map, text name, enum tag tag) {
  view value;
  if (header(stream, map, name, 0, &value)) divertor_record_text(record, tag, value);
}

static void record_request(void *stream, struct request *request, const struct route *route, const char *kind) {
  if (!route->spool[0] || request->record || !(request->record = divertor_record(route->body, route->spool))) return;
  divertor_record_text(request->record, KIND, as_text(kind));
  divertor_record_text(request->record, SCOPE, as_text(route->scope));
  record_field(stream, request->record, REQUEST_HEADERS, TEXT(":method"), METHOD);
  record_field(stream, request->record, REQUEST_HEADERS, TEXT(":authority"), AUTHORITY);
  record_field(stream, request->record, REQUEST_HEADERS, TEXT(":path"), PATH);
  record_field(stream, request->record, REQUEST_HEADERS, TEXT(":scheme"), SCHEME);
  record_field(stream, request->record, REQUEST_HEADERS, TEXT("x-request-id"), REQUEST_ID);
  record_field(stream, request->record, REQUEST_HEADERS, TEXT("x-envoy-external-address"), CLIENT);
  record_headers(stream, request->record, REQUEST_HEADERS, ASKED_HEADER);
}

static void record_answer(void *stream, struct record *record) {
  record_field(stream, record, RESPONSE_HEADERS, TEXT(":status"), STATUS);
  record_headers(stream, record, RESPONSE_HEADERS, ANSWER_HEADER);
}

static void record_body(void *stream, struct record *record, int body) {
  view pieces[MAX_PIECES];
  size_t count = envoy_dynamic_module_callback_http_get_body_chunks_size(stream, body);
  if (count > MAX_PIECES || !envoy_dynamic_module_callback_http_get_body_chunks(stream, body, pieces)) return;
  for (size_t i = 0; i < count; i++) divertor_record_body(record, body == RESPONSE_BODY, pieces[i]);
}

const void *envoy_dynamic_module_on_http_filter_new(const void *config, void *stream) {
  (void)config, (void)stream;
  return calloc(1, sizeof(struct request));
}
void envoy_dynamic_module_on_http_filter_destroy(const void *state) {
  struct request *request = (struct request *)state;
  if (!request) return;
  if (request->record) {
    if (request->noted && request->length)
      divertor_record_text(request->record, ADDED, (view){request->noted, request->length});
    divertor_record_write(request->record);
  }
  free(request->noted);
  free(request);
}

static const struct route *settings(void *stream) {
  return envoy_dynamic_module_callback_get_most_specific_route_config(stream);
}

static void meet_isolated(void *stream, struct request *request, const struct route *route, const struct key *key,
                          view value) {
  bool own = is_own(key);
  note(stream, "scope", as_text(route->scope));
  note(stream, "key", as_text(divertor_kind(key->kind)));
  if (route->simulate) note(stream, "simulated", TEXT("1"));
  request->followed = own && !route->simulate;
  record_request(stream, request, route, route->simulate ? "simulated" : "isolated");
  if (!value.at) return;
  note_key(stream, request, "by", key, value);
  if (request->record) divertor_record_text(request->record, BY, (view){request->noted, request->length});
  request->length = 0; /* what is added by the answer is a list of its own */
}

int envoy_dynamic_module_on_http_filter_request_headers(void *stream, const void *state, bool end) {
  (void)end;
  struct request *request = (struct request *)state;
  const struct route *route = settings(stream);
  if (!route || !request) return HEADERS_CONTINUE;
  view value = {NULL, 0};
  const struct key *key;
  if (!route->simulate && divertor_is_diverted(asked(stream), route)) {
    request->diverted = true;
    note(stream, "scope", as_text(route->scope));
    record_request(stream, request, route, "diverted");
    request->unknown = !isolate_request(stream, request, route);
  } else if ((key = divertor_isolated_by(asked(stream), route, &value))) {
    meet_isolated(stream, request, route, key, value);
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
  record_request(stream, request, route, "refused");
  isolate_request(stream, request, route);
}

int envoy_dynamic_module_on_http_filter_response_headers(void *stream, const void *state, bool end) {
  (void)end;
  struct request *request = (struct request *)state;
  const struct route *route = settings(stream);
  view token;
  bool told = header(stream, RESPONSE_HEADERS, TOKEN, 0, &token);
  if (!route || !request) {
    if (told) drop(stream, TOKEN);
    return HEADERS_CONTINUE;
  }
  if (told && !divertor_is_token(token, route)) drop(stream, TOKEN); /* an application's own header */
  else if (told) refuse(stream, request, route);
  if (request->diverted || request->followed) {
    bool followed = follow(stream, request, route);
    if (!followed && request->unknown && served(stream)) isolate_address(stream, request, route);
  }
  if (request->record) record_answer(stream, request->record);
  return HEADERS_CONTINUE;
}

int envoy_dynamic_module_on_http_filter_request_body(void *stream, const void *state, bool end) {
  (void)end;
  const struct request *request = state;
  if (request && request->record) record_body(stream, request->record, REQUEST_BODY);
  return BODY_CONTINUE;
}
int envoy_dynamic_module_on_http_filter_request_trailers(void *stream, const void *state) {
  (void)stream, (void)state;
  return TRAILERS_CONTINUE;
}
int envoy_dynamic_module_on_http_filter_response_body(void *stream, const void *state, bool end) {
  (void)end;
  const struct request *request = state;
  if (request && request->record) record_body(stream, request->record, RESPONSE_BODY);
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
