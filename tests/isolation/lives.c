/* Envoy's side of the native code, played by a driver: whole lives of hostile requests, from their arrival over their
 * routing to what is recorded of them. Headers lie in memory of exactly their size, which moves whenever Envoy might
 * move it. Ends with 1 and the reason when something is not as it must be; prints how many requests lived.
 */
#include "abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern const void *envoy_dynamic_module_on_early_header_mutation_config_new(void *, view, view);
extern void envoy_dynamic_module_on_early_header_mutation_config_destroy(const void *);
extern bool envoy_dynamic_module_on_early_header_mutation_mutate(const void *, void *);
extern const void *envoy_dynamic_module_on_matcher_data_input_config_new(void *, view, view);
extern void envoy_dynamic_module_on_matcher_data_input_config_destroy(const void *);
extern void envoy_dynamic_module_on_matcher_data_input_get(const void *, void *);
extern const void *envoy_dynamic_module_on_http_filter_config_new(void *, view, view);
extern const void *envoy_dynamic_module_on_http_filter_per_route_config_new(view, view);
extern void envoy_dynamic_module_on_http_filter_per_route_config_destroy(const void *);
extern const void *envoy_dynamic_module_on_http_filter_new(const void *, void *);
extern void envoy_dynamic_module_on_http_filter_destroy(const void *);
extern int envoy_dynamic_module_on_http_filter_request_headers(void *, const void *, bool);
extern int envoy_dynamic_module_on_http_filter_response_headers(void *, const void *, bool);
extern int envoy_dynamic_module_on_http_filter_request_body(void *, const void *, bool);
extern int envoy_dynamic_module_on_http_filter_response_body(void *, const void *, bool);

enum { MOST = 400, CHUNKS = 300 };

struct map {
  size_t count;
  header_field fields[MOST];
};

struct stream {
  struct map maps[3]; /* request, nothing, response */
  view chunks[CHUNKS];
  size_t count;
  const void *route;
  char answer[16];
};

static view copied(view from) {
  char *own = malloc(from.length ? from.length : 1);
  if (from.length) memcpy(own, from.at, from.length);
  return (view){own, from.length};
}
static view word(const char *at) { return (view){at, strlen(at)}; }
static bool same(view one, view other) {
  return one.length == other.length && memcmp(one.at, other.at, one.length) == 0;
}
static void release(view text) { free((void *)text.at); }

static void add(struct map *map, view name, view value) {
  if (map->count < MOST) map->fields[map->count++] = (header_field){copied(name), copied(value)};
}
static void drop(struct map *map, view name) {
  size_t kept = 0;
  for (size_t i = 0; i < map->count; i++)
    if (same(map->fields[i].name, name)) release(map->fields[i].name), release(map->fields[i].value);
    else map->fields[kept++] = map->fields[i];
  map->count = kept;
}
/* Nothing that was looked at before is where it was. */
static void move(struct map *map) {
  for (size_t i = 0; i < map->count; i++) {
    header_field old = map->fields[i];
    map->fields[i] = (header_field){copied(old.name), copied(old.value)};
    release(old.name), release(old.value);
  }
}
static void clear(struct map *map) {
  for (size_t i = 0; i < map->count; i++) release(map->fields[i].name), release(map->fields[i].value);
  map->count = 0;
}
static bool get(const struct map *map, view name, view *value, size_t index, size_t *count) {
  size_t found = 0;
  *value = (view){NULL, 0};
  for (size_t i = 0; i < map->count; i++)
    if (same(map->fields[i].name, name) && found++ == index) *value = map->fields[i].value;
  if (count) *count = found;
  return index < found;
}
static void set(struct map *map, text name, text value) {
  view own = copied(name), other = value.at ? copied(value) : value;
  drop(map, own);
  if (other.at) add(map, own, other), release(other);
  release(own);
  move(map);
}
static bool all(const struct map *map, header_field *fields) {
  memcpy(fields, map->fields, map->count * sizeof *fields);
  return true;
}

#define CALLBACK(name) envoy_dynamic_module_callback_##name
bool CALLBACK(http_get_header)(void *at, int map, text name, view *value, size_t index, size_t *count) {
  return get(&((struct stream *)at)->maps[map], name, value, index, count);
}
bool CALLBACK(matcher_data_input_get_header_value)(void *at, int map, text name, view *value, size_t index,
                                                   size_t *count) {
  return get(&((struct stream *)at)->maps[map], name, value, index, count);
}
bool CALLBACK(early_header_mutation_get_header_value)(void *at, text name, view *value, size_t index, size_t *count) {
  return get(&((struct stream *)at)->maps[0], name, value, index, count);
}
bool CALLBACK(http_set_header)(void *at, int map, text name, text value) {
  set(&((struct stream *)at)->maps[map], name, value);
  return true;
}
bool CALLBACK(early_header_mutation_set_header)(void *at, text name, text value) {
  set(&((struct stream *)at)->maps[0], name, value);
  return true;
}
bool CALLBACK(early_header_mutation_add_header)(void *at, text name, text value) {
  add(&((struct stream *)at)->maps[0], name, value);
  move(&((struct stream *)at)->maps[0]);
  return true;
}
bool CALLBACK(early_header_mutation_remove_header)(void *at, text name) {
  drop(&((struct stream *)at)->maps[0], name);
  move(&((struct stream *)at)->maps[0]);
  return true;
}
size_t CALLBACK(http_get_headers_size)(void *at, int map) { return ((struct stream *)at)->maps[map].count; }
bool CALLBACK(http_get_headers)(void *at, int map, header_field *to) { return all(&((struct stream *)at)->maps[map], to); }
size_t CALLBACK(early_header_mutation_get_headers_size)(void *at) { return ((struct stream *)at)->maps[0].count; }
bool CALLBACK(early_header_mutation_get_headers)(void *at, header_field *to) {
  return all(&((struct stream *)at)->maps[0], to);
}
const void *CALLBACK(get_most_specific_route_config)(void *at) { return ((struct stream *)at)->route; }
size_t CALLBACK(http_get_body_chunks_size)(void *at, int body) { return (void)body, ((struct stream *)at)->count; }
bool CALLBACK(http_get_body_chunks)(void *at, int body, view *chunks) {
  const struct stream *stream = at;
  (void)body;
  memcpy(chunks, stream->chunks, stream->count * sizeof *chunks);
  return true;
}
static size_t told; /* bytes of metadata, so that they are read */
void CALLBACK(http_set_dynamic_metadata_string)(void *at, text space, text key, text value) {
  (void)at, (void)space, (void)key;
  view own = copied(value);
  told += own.length;
  release(own);
}
void CALLBACK(log)(int level, text message) { (void)level, (void)message; }
void CALLBACK(matcher_data_input_set_result)(void *at, text result) {
  struct stream *stream = at;
  memcpy(stream->answer, result.at, result.length);
  stream->answer[result.length] = 0;
}

/* What clients and versions say --------------------------------------------------------------------------- */

static const char *const names[] = {
    "cookie", "cookie", "cookie", "authorization", "x-api-key", "x_api_key", "x-divertor-token", "x_divertor_token",
    "x-divertor-origin", "x.divertor~origin", "x-divertor-", "x-divertor", "x", "x-envoy-original-url",
    "x-envoy-original-path", "x-envoy-external-address", "x_envoy_external_address", "x-forwarded-for",
    "x-forwarded-proto", "content-length", "transfer-encoding", "x-divertor-ja3", "x-divertor-ja4", "\xff", "host"};
static const char *const pieces[] = {
    "session=", "bad", "good", "; ", ";", "=", "\"", "\\075", "%62", " ", ",", "Bearer ", "bearer\t", "token",
    "wrong", "1", "1048577", "127.0.0.1", "::1", "::ffff:1.2.3.4", "10.0.0.7", "[", "]", ":", "http", "https", "\xc2\xa0"};
static const char *const hosts[] = {"shop.example", "a:80", "", ":", "a b", "[::1]:80", "a:65536", "..", "\xff"};
static const char *const methods[] = {"GET", "POST", "HEAD", "", "CONNECT"};
#define ANY(list) (list[(size_t)rand() % (sizeof list / sizeof *list)])

static view any_text(char *draft, size_t most) {
  size_t length = 0, count = (size_t)rand() % 10;
  for (size_t i = 0; i < count; i++) {
    const char *piece = ANY(pieces);
    size_t times = rand() % 300 == 0 ? 2000 : 1;
    while (times-- && length + 20 < most) memcpy(draft + length, piece, strlen(piece)), length += strlen(piece);
  }
  return (view){draft, length};
}

static void any_headers(struct map *map, bool answer) {
  static char draft[32 << 10], name[8 << 10];
  size_t count = (size_t)rand() % (rand() % 20 ? 12 : MOST - 10);
  for (size_t i = 0; i < count; i++) {
    view own = word(answer && rand() % 3 == 0 ? "set-cookie" : ANY(names));
    if (rand() % 200 == 0) {
      memcpy(name, "x-divertor-", 11);
      memset(name + 11, 'o', sizeof name - 11);
      own = (view){name, sizeof name};
    }
    add(map, own, rand() % 9 ? any_text(draft, sizeof draft) : word("token"));
  }
}

static void any_chunks(struct stream *stream) {
  static char draft[16 << 10];
  stream->count = (size_t)rand() % (rand() % 30 ? 4 : CHUNKS);
  for (size_t i = 0; i < stream->count; i++) stream->chunks[i] = copied(any_text(draft, sizeof draft));
}
static void no_chunks(struct stream *stream) {
  for (size_t i = 0; i < stream->count; i++) release(stream->chunks[i]);
  stream->count = 0;
}

/* What Envoy does ------------------------------------------------------------------------------------------ */

static void fail(const char *reason) {
  fprintf(stderr, "%s\n", reason);
  exit(1);
}

/* In whatever spelling, only one header may begin like ours: the one that was just put there. */
static void must_be_clean(const struct map *map) {
  size_t origins = 0;
  for (size_t i = 0; i < map->count; i++) {
    view name = map->fields[i].name;
    if (same(name, word("x-divertor-origin"))) origins++;
    else if (name.length >= 11 && name.at[0] == 'x' && memcmp(name.at + 2, "divertor", 8) == 0) fail("a forged header");
    else if (name.length >= 16 && memcmp(name.at, "x-envoy-original", 16) == 0) fail("a forged redirect");
    else if (same(name, word("x-envoy-external-address"))) fail("a forged address");
  }
  if (origins > 1) fail("a forged origin");
}

static void answer(struct stream *stream, const void *state) {
  struct map *map = &stream->maps[2];
  if (rand() % 8) add(map, word(":status"), word(rand() % 3 ? "307" : rand() % 2 ? "200" : "5"));
  any_headers(map, true);
  if (rand() % 2) add(map, word("x-divertor-token"), word(rand() % 2 ? "token" : "tokem"));
  envoy_dynamic_module_on_http_filter_response_headers(stream, state, rand() % 2);
  view value;
  if (get(map, word("x-divertor-token"), &value, 0, NULL)) fail("a token got out");
  for (int i = rand() % 4; i > 0; i--) {
    any_chunks(stream);
    envoy_dynamic_module_on_http_filter_response_body(stream, state, false);
    no_chunks(stream);
  }
}

static void filtered(struct stream *stream, const void *settings) {
  const void *state = envoy_dynamic_module_on_http_filter_new(NULL, stream);
  stream->route = rand() % 20 ? settings : NULL;
  if (rand() % 20) envoy_dynamic_module_on_http_filter_request_headers(stream, state, rand() % 2);
  move(&stream->maps[0]);
  for (int i = rand() % 4; i > 0; i--) {
    any_chunks(stream);
    envoy_dynamic_module_on_http_filter_request_body(stream, state, false);
    no_chunks(stream);
  }
  if (rand() % 8) answer(stream, state);
  envoy_dynamic_module_on_http_filter_destroy(state);
}

/* The answer by what was kept from the arrival must be the one by Envoy's own headers. */
static void routed(struct stream *stream, const void *decision) {
  char first[sizeof stream->answer];
  stream->answer[0] = 0;
  envoy_dynamic_module_on_matcher_data_input_get(decision, stream);
  strcpy(first, stream->answer);
  stream->answer[0] = 0;
  envoy_dynamic_module_on_matcher_data_input_get(decision, stream);
  bool isolated = strcmp(first, "isolated") == 0, again = strcmp(stream->answer, "isolated") == 0;
  /* An isolation lasts a second here, and may end between the two questions; hardly ever. */
  static int ended = 0;
  if (again && !isolated) fail("kept headers isolate nobody where Envoy's do");
  if (isolated && !again && ++ended > 2) fail("kept headers isolate where Envoy's do not");
  if (strcmp(first, "divert") == 0) fail("a client diverted itself");
}

static void diverted(struct stream *stream, const void *decision) {
  add(&stream->maps[0], word("x-envoy-original-url"), word("http://a/"));
  add(&stream->maps[0], word("x-divertor-token"), word("token"));
  stream->answer[0] = 0;
  envoy_dynamic_module_on_matcher_data_input_get(decision, stream);
  if (strcmp(stream->answer, "divert") != 0) fail("a diverted request was not known");
}

static void live(const void *const arrivals[3], const void *proxies, const void *decision, const void *settings) {
  static struct stream stream;
  struct map *map = &stream.maps[0];
  add(map, word(":method"), word(ANY(methods)));
  add(map, word(":authority"), word(ANY(hosts)));
  if (rand() % 20) add(map, word(":path"), word("/"));
  any_headers(map, false);
  if (rand() % 2) {
    add(map, word("x-envoy-external-address"), word(rand() % 2 ? "10.0.0.1" : "192.0.2.1"));
    envoy_dynamic_module_on_early_header_mutation_mutate(proxies, &stream);
  }
  envoy_dynamic_module_on_early_header_mutation_mutate(arrivals[rand() % 3], &stream);
  must_be_clean(map);
  move(map);
  if (rand() % 4) {
    char address[32];
    snprintf(address, sizeof address, rand() % 2 ? "192.0.2.%d" : "2001:db8::%d", rand() % 250);
    add(map, word("x-envoy-external-address"), word(address));
    routed(&stream, decision);
    if (rand() % 2) diverted(&stream, decision);
    filtered(&stream, settings);
  }
  clear(map);
  clear(&stream.maps[2]);
}

static view file_of(const char *path, char *draft, size_t room) {
  FILE *file = fopen(path, "r");
  size_t length = file ? fread(draft, 1, room, file) : 0;
  if (file) fclose(file);
  return (view){draft, length};
}

/* Seconds, a file with the settings of a route, and the spool that they name. */
int main(int count, char **arguments) {
  static char draft[8192];
  if (count != 4) return 2;
  srand(11);
  view text = file_of(arguments[2], draft, sizeof draft);
  const char *const words[] = {"http", "https", "told"};
  const void *arrivals[3];
  for (int i = 0; i < 3; i++)
    arrivals[i] = envoy_dynamic_module_on_early_header_mutation_config_new(NULL, word("arrival"), word(words[i]));
  const void *proxies =
      envoy_dynamic_module_on_early_header_mutation_config_new(NULL, word("proxies"), word("http\n10.0.0.0/8\n::1/128"));
  const void *decision = envoy_dynamic_module_on_matcher_data_input_config_new(NULL, word("isolation"), text);
  const void *settings = envoy_dynamic_module_on_http_filter_per_route_config_new(word("isolation"), text);
  if (!proxies || !decision || !settings) fail("settings that cannot be read");
  unsigned long lives = 0;
  for (time_t end = time(NULL) + atoi(arguments[1]); time(NULL) < end;) {
    for (int turn = 0; turn < 200; turn++, lives++) live(arrivals, proxies, decision, settings);
    unlink(arguments[3]);
  }
  for (int i = 0; i < 3; i++) envoy_dynamic_module_on_early_header_mutation_config_destroy(arrivals[i]);
  envoy_dynamic_module_on_early_header_mutation_config_destroy(proxies);
  envoy_dynamic_module_on_matcher_data_input_config_destroy(decision);
  envoy_dynamic_module_on_http_filter_per_route_config_destroy(settings);
  printf("%lu %zu\n", lives, told);
  return 0;
}
