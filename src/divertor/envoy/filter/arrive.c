/* What is done to every request's headers as it arrives, before Envoy looks at them itself.
 *
 * What only we may say is taken out, in every spelling: application servers after the CGI fashion take `_` for `-`.
 * And the request's own URL is put down as it came, for the sensor to send a diverted request to. The headers are kept for
 * decide.c. Envoy's own means to these ends cost several times as much, at every request.
 */
#include "abi.h"
#include "proxies.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_URL = 64 << 10, MAX_PORT = 65535 };

/* As many headers as there are: were there a most, one more would keep what is to be taken out. */
struct fields {
  header_field *at;
  size_t room;
};

struct kept {
  bool fresh, unrepeatable;
  size_t count, length;
  struct fields fields;
  char text[MAX_URL];
};
static __thread struct kept *kept;
static __thread struct fields fields; /* as Envoy shows them */

#define TEXT(literal) {literal, sizeof(literal) - 1}
static const text ORIGIN = TEXT("x-divertor-origin"), ADDRESS = TEXT("x-envoy-external-address");
static const text AUTHORITY = TEXT(":authority"), PATH = TEXT(":path"), PROTO = TEXT("x-forwarded-proto");
static const text METHOD = TEXT(":method"), LENGTH = TEXT("content-length"), ENCODING = TEXT("transfer-encoding");
static const text schemes[] = {TEXT("http://"), TEXT("https://"), TEXT("https")};

/* How the client came: without TLS, with it, or as the proxy in front of us tells. */
enum scheme { PLAIN, SECURE, TOLD };
static const text words[] = {TEXT("http"), TEXT("https"), TEXT("told")};

const void *envoy_dynamic_module_on_early_header_mutation_config_new(void *envoy, view name, view config) {
  static const enum scheme known[] = {PLAIN, SECURE, TOLD};
  (void)envoy;
  if (name.length == 7 && memcmp(name.at, "proxies", 7) == 0) return divertor_proxies(config);
  for (int i = PLAIN; i <= TOLD; i++)
    if (config.length == words[i].length && memcmp(config.at, words[i].at, config.length) == 0) return &known[i];
  return NULL;
}
void envoy_dynamic_module_on_early_header_mutation_config_destroy(const void *config) {
  if (*(const int *)config == PROXIES) free((void *)config);
}

static bool is(view name, text wanted) {
  return name.length == wanted.length && memcmp(name.at, wanted.at, wanted.length) == 0;
}

static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/* Envoy hands names over in lower case. Some servers take `_` for `-`, and some every mark that is neither letter
 * nor digit. */
static bool spells(view name, size_t length, const char *own) {
  if (name.length < length) return false;
  for (size_t i = 0; i < length; i++)
    if (own[i] == '-' ? is_word(name.at[i]) : name.at[i] != own[i]) return false;
  return true;
}

static bool is_ours(view name) {
  if (name.length < 11 || name.at[0] != 'x') return false;
  if (spells(name, 11, "x-divertor-")) return true;
  /* Envoy sets it on a request that it sends again: decide.c tells those apart by it. */
  if (spells(name, 16, "x-envoy-original")) return true;
  /* In the one right spelling it is Envoy's: what a client says is overwritten. */
  return name.length == ADDRESS.length && spells(name, ADDRESS.length, ADDRESS.at);
}

/* What the rest of us needs of a request. */
struct seen {
  view method, host, path, length, proto;
  bool encoded; /* a body in pieces */
  bool ours;    /* it holds what only we may say */
};

/* A copy: what Envoy changes or removes until the route is chosen does not matter. */
static view keep(struct kept *into, view piece) {
  if (piece.length) memcpy(into->text + into->length, piece.at, piece.length);
  into->length += piece.length;
  return (view){into->text + into->length - piece.length, piece.length};
}

static bool grow(struct fields *to, size_t count) {
  if (count <= to->room) return true;
  header_field *grown = realloc(to->at, 2 * count * sizeof *grown);
  if (!grown) return false;
  *to = (struct fields){grown, 2 * count};
  return true;
}

/* The headers into `fields`, and how many there are: 0 only without memory, when Envoy is about to end itself. */
static size_t read_fields(void *request) {
  size_t count = envoy_dynamic_module_callback_early_header_mutation_get_headers_size(request);
  if (!grow(&fields, count)) return 0;
  return envoy_dynamic_module_callback_early_header_mutation_get_headers(request, fields.at) ? count : 0;
}

static bool look(void *request, struct seen *seen) {
  size_t count = read_fields(request), total = 0;
  if (!kept && !(kept = calloc(1, sizeof *kept))) return false;
  kept->fresh = false;
  kept->count = kept->length = 0;
  if (count == 0 || !grow(&kept->fields, count)) return false;
  for (size_t i = 0; i < count; i++) {
    view name = fields.at[i].name, value = fields.at[i].value;
    if (is(name, AUTHORITY)) seen->host = value;
    else if (is(name, PATH)) seen->path = value;
    else if (is(name, METHOD)) seen->method = value;
    else if (is(name, LENGTH)) seen->length = value;
    else if (is(name, ENCODING)) seen->encoded = true;
    else if (is(name, PROTO)) seen->proto = value;
    else if (is_ours(name)) seen->ours = true;
    total += name.length + value.length;
    if (total > MAX_URL) continue;
    kept->fields.at[kept->count].name = keep(kept, name);
    kept->fields.at[kept->count++].value = keep(kept, value);
  }
  kept->fresh = total <= MAX_URL;
  return true;
}

bool divertor_arrived(void) {
  bool fresh = kept && kept->fresh;
  if (kept) kept->fresh = false;
  return fresh;
}

bool divertor_is_unrepeatable(void) { return kept->unrepeatable; }

bool divertor_arrived_header(text name, view *value, size_t index) {
  for (size_t i = 0; i < kept->count; i++)
    if (is(kept->fields.at[i].name, name) && index-- == 0) {
      *value = kept->fields.at[i].value;
      return true;
    }
  return false;
}

/* Removing one invalidates what was read of the others; hardly any request has any. */
static void clean(void *request) {
  for (;;) {
    size_t count = read_fields(request), i = 0;
    while (i < count && !is_ours(fields.at[i].name)) i++;
    if (i == count) return;
    size_t length = fields.at[i].name.length;
    char *name = malloc(length);
    if (!name) return;
    memcpy(name, fields.at[i].name.at, length);
    envoy_dynamic_module_callback_early_header_mutation_remove_header(request, (text){name, length});
    free(name);
  }
}

static bool too_long(view digits, uint64_t limit) {
  uint64_t length = 0;
  for (size_t i = 0; i < digits.length; i++) {
    if (digits.at[i] < '0' || digits.at[i] > '9' || length > limit) return true;
    length = length * 10 + (uint64_t)(digits.at[i] - '0');
  }
  return length > limit;
}

/* `example.org:8080`; addresses in brackets are not looked into. */
static bool plain_host(view host) {
  size_t i = 0;
  for (; i < host.length && host.at[i] != ':'; i++) {
    unsigned char c = (unsigned char)host.at[i], letter = c | 0x20;
    if (!((letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-')) return false;
  }
  if (i == 0 || i + 1 == host.length) return false;
  return i == host.length || !too_long((view){host.at + i + 1, host.length - i - 1}, MAX_PORT);
}

/* Whether Envoy might not be able to send the request again. Its host may be no host. Or it has a body: that may be
 * too long to be kept, or the client holds it back until the sensor, which has seen enough, has answered; and of what
 * has not come nothing can be sent again. Few requests without a method that asks for one have a body. */
static bool unrepeatable(const struct seen *seen) {
  if (!plain_host(seen->host) || seen->encoded) return true;
  if (seen->length.length) return too_long(seen->length, 0);
  return !is(seen->method, (text)TEXT("GET")) && !is(seen->method, (text)TEXT("HEAD"));
}

static bool append(char *url, size_t *length, view piece) {
  if (*length + piece.length > MAX_URL) return false;
  if (piece.length) memcpy(url + *length, piece.at, piece.length);
  *length += piece.length;
  return true;
}

bool envoy_dynamic_module_on_early_header_mutation_mutate(const void *config, void *request) {
  static __thread char url[MAX_URL]; /* longer headers Envoy does not take */
  const enum scheme *scheme = config;
  size_t length = 0;
  struct seen seen = {0};
  if (*(const int *)config == PROXIES) {
    divertor_proxies_apply(config, request);
    return true;
  }
  if (!look(request, &seen)) return true;
  kept->unrepeatable = unrepeatable(&seen);
  bool secure = *scheme == SECURE || (*scheme == TOLD && is(seen.proto, schemes[2]));
  bool whole = append(url, &length, schemes[secure]) && append(url, &length, seen.host) &&
               append(url, &length, seen.path);
  if (seen.ours) clean(request); /* `seen` is not to be read any more */
  if (whole) envoy_dynamic_module_callback_early_header_mutation_add_header(request, ORIGIN, (text){url, length});
  return true; /* and what other extensions do */
}
