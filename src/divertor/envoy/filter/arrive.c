/* What is done to every request's headers as it arrives, before Envoy looks at them itself.
 *
 * What only we may say is taken out, in every spelling: application servers after the CGI fashion take `_` for `-`.
 * And the request's own URL is put down as it came, for the sensor to send a diverted request to. Envoy's own means to
 * the same end cost three times as much, at every request.
 */
#include "abi.h"
#include "proxies.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FIELDS = 128, MAX_URL = 64 << 10, MAX_REMOVED = 8 };

#define TEXT(literal) {literal, sizeof(literal) - 1}
static const text ORIGIN = TEXT("x-divertor-origin"), ADDRESS = TEXT("x-envoy-external-address");
static const text AUTHORITY = TEXT(":authority"), PATH = TEXT(":path"), PROTO = TEXT("x-forwarded-proto");
static const text schemes[] = {TEXT("http://"), TEXT("https://")};

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

/* Envoy hands names over in lower case. */
static bool spells(view name, size_t length, const char *own) {
  if (name.length < length) return false;
  for (size_t i = 0; i < length; i++)
    if (name.at[i] != own[i] && !(own[i] == '-' && name.at[i] == '_')) return false;
  return true;
}

static bool is_ours(view name) {
  if (name.length < 11 || name.at[0] != 'x') return false;
  if (spells(name, 11, "x-divertor-")) return true;
  /* In the one right spelling it is Envoy's: what a client says is overwritten. */
  return name.length == ADDRESS.length && spells(name, ADDRESS.length, ADDRESS.at);
}

static void clean(void *request) {
  header_field fields[MAX_FIELDS];
  char names[MAX_REMOVED][256];
  size_t lengths[MAX_REMOVED], removed;
  /* Removing one invalidates what was read of the others; those that are removed are few, so this is short. */
  do {
    size_t count = envoy_dynamic_module_callback_early_header_mutation_get_headers_size(request);
    removed = 0;
    if (count > MAX_FIELDS || !envoy_dynamic_module_callback_early_header_mutation_get_headers(request, fields)) return;
    for (size_t i = 0; i < count && removed < MAX_REMOVED; i++) {
      view name = fields[i].name;
      if (!is_ours(name) || name.length > sizeof *names) continue;
      memcpy(names[removed], name.at, name.length);
      lengths[removed++] = name.length;
    }
    for (size_t i = 0; i < removed; i++)
      envoy_dynamic_module_callback_early_header_mutation_remove_header(request, (text){names[i], lengths[i]});
  } while (removed);
}

static bool ask(void *request, text name, view *value) {
  return envoy_dynamic_module_callback_early_header_mutation_get_header_value(request, name, value, 0, NULL) &&
         value->at;
}

static bool append(char *url, size_t *length, view piece) {
  if (*length + piece.length > MAX_URL) return false;
  memcpy(url + *length, piece.at, piece.length);
  *length += piece.length;
  return true;
}

static bool is_secure(void *request, const enum scheme *scheme) {
  view told;
  if (*scheme != TOLD) return *scheme == SECURE;
  return ask(request, PROTO, &told) && told.length == 5 && memcmp(told.at, "https", 5) == 0;
}

bool envoy_dynamic_module_on_early_header_mutation_mutate(const void *config, void *request) {
  static __thread char url[MAX_URL]; /* longer headers Envoy does not take */
  size_t length = 0;
  view host, path;
  if (*(const int *)config == PROXIES) {
    divertor_proxies_apply(config, request);
    return true;
  }
  clean(request);
  if (ask(request, AUTHORITY, &host) && ask(request, PATH, &path) &&
      append(url, &length, is_secure(request, config) ? schemes[1] : schemes[0]) && append(url, &length, host) &&
      append(url, &length, path))
    envoy_dynamic_module_callback_early_header_mutation_set_header(request, ORIGIN, (text){url, length});
  return true; /* and what other extensions do */
}
