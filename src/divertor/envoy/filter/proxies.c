/* Who the client is behind proxies that are trusted: the module proxies.h describes.
 *
 * Envoy can search X-Forwarded-For itself, but only as long as it does not consider itself the edge: then it believes
 * a client's request id, its own control headers, and much else. So this finds the client first and leaves a header
 * whose last entry is right, and Envoy goes on as an edge with one proxy in front.
 */
#include "proxies.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* What of Envoy's interface nothing else needs. */
extern bool envoy_dynamic_module_callback_early_header_mutation_get_header_value(void *request, text name, view *value,
                                                                                 size_t index, size_t *count);
extern bool envoy_dynamic_module_callback_early_header_mutation_set_header(void *request, text name, text value);

#define TEXT(literal) {literal, sizeof(literal) - 1}
static const text PEER = TEXT("x-envoy-external-address"), FORWARDED = TEXT("x-forwarded-for");
static const text PROTO = TEXT("x-forwarded-proto"), HTTP = TEXT("http"), HTTPS = TEXT("https");
static const unsigned char MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool same(view left, view right) {
  return left.length == right.length && memcmp(left.at, right.at, left.length) == 0;
}

static bool read_address(view from, address *to) {
  char draft[INET6_ADDRSTRLEN];
  if (from.length == 0 || from.length >= sizeof draft || memchr(from.at, 0, from.length)) return false;
  memcpy(draft, from.at, from.length);
  draft[from.length] = 0;
  if (inet_pton(AF_INET6, draft, to->at) == 1) return true;
  memcpy(to->at, MAPPED, sizeof MAPPED);
  return inet_pton(AF_INET, draft, to->at + sizeof MAPPED) == 1;
}

static size_t write_address(const address *from, char *to) {
  bool mapped = memcmp(from->at, MAPPED, sizeof MAPPED) == 0;
  const void *bytes = mapped ? from->at + sizeof MAPPED : from->at;
  return inet_ntop(mapped ? AF_INET : AF_INET6, bytes, to, INET6_ADDRSTRLEN) ? strlen(to) : 0;
}

static bool read_network(view line, struct network *to) {
  const char *slash = line.length ? memchr(line.at, '/', line.length) : NULL;
  if (!slash || !read_address((view){line.at, (size_t)(slash - line.at)}, &to->base)) return false;
  size_t digits = line.length - (size_t)(slash + 1 - line.at);
  int bits = 0;
  if (digits == 0 || digits > 3) return false;
  for (size_t i = 1; i <= digits; i++) {
    if (slash[i] < '0' || slash[i] > '9') return false;
    bits = bits * 10 + slash[i] - '0';
  }
  bool four = memchr(line.at, ':', line.length) == NULL;
  to->bits = four ? bits + 96 : bits;
  return bits <= (four ? 32 : 128);
}

static bool within(const address *who, const struct network *network) {
  size_t whole = (size_t)network->bits / 8;
  int rest = network->bits % 8;
  if (memcmp(who->at, network->base.at, whole) != 0) return false;
  if (rest == 0) return true;
  return (who->at[whole] >> (8 - rest)) == (network->base.at[whole] >> (8 - rest));
}

static bool is_proxy(const struct proxies *proxies, const address *who) {
  for (size_t i = 0; i < proxies->count; i++)
    if (within(who, &proxies->trusted[i])) return true;
  return false;
}

static view line_of(view *rest) {
  const char *end = rest->length ? memchr(rest->at, '\n', rest->length) : NULL;
  view line = {rest->at, end ? (size_t)(end - rest->at) : rest->length};
  size_t taken = end ? line.length + 1 : line.length;
  rest->at += taken;
  rest->length -= taken;
  return line;
}

struct proxies *divertor_proxies(view lines) {
  size_t room = 0;
  for (size_t i = 0; i < lines.length; i++) room += lines.at[i] == '\n';
  struct proxies *made = calloc(1, sizeof *made + (room + 1) * sizeof *made->trusted);
  if (!made) return NULL;
  view scheme = line_of(&lines);
  made->kind = PROXIES;
  made->secure = same(scheme, HTTPS);
  if (!made->secure && !same(scheme, HTTP)) goto refused;
  while (lines.length)
    if (!read_network(line_of(&lines), &made->trusted[made->count++])) goto refused;
  return made;
refused:
  free(made);
  return NULL;
}

bool divertor_trusted(const struct proxies *proxies, view peer) {
  address who;
  return read_address(peer, &who) && is_proxy(proxies, &who);
}

/* An entry as proxies write it: `192.0.2.1`, `192.0.2.1:1234`, `2001:db8::1`, `[2001:db8::1]:1234`, with blanks. */
static bool read_entry(view entry, address *to) {
  while (entry.length && (entry.at[0] == ' ' || entry.at[0] == '\t')) entry.at++, entry.length--;
  while (entry.length && (entry.at[entry.length - 1] == ' ' || entry.at[entry.length - 1] == '\t')) entry.length--;
  if (read_address(entry, to)) return true;
  const char *colon = entry.length ? memchr(entry.at, ':', entry.length) : NULL;
  if (entry.length && entry.at[0] == '[') {
    const char *end = memchr(entry.at, ']', entry.length);
    return end && read_address((view){entry.at + 1, (size_t)(end - entry.at - 1)}, to);
  }
  return colon && read_address((view){entry.at, (size_t)(colon - entry.at)}, to);
}

view divertor_forwarded(const struct proxies *proxies, view peer, view forwarded, char *store) {
  address client, entry;
  size_t kept = forwarded.length, end = forwarded.length;
  if (!read_address(peer, &client)) return (view){store, 0};
  for (int hops = 0; hops < MAX_HOPS && end && is_proxy(proxies, &client); hops++) {
    size_t start = end;
    while (start && forwarded.at[start - 1] != ',') start--;
    if (!read_entry((view){forwarded.at + start, end - start}, &entry)) break;
    client = entry;
    kept = start ? start - 1 : 0; /* before the comma */
    end = kept;
  }
  size_t length = 0;
  if (kept && kept + 2 + INET6_ADDRSTRLEN <= MAX_FORWARDED) {
    memcpy(store, forwarded.at, kept);
    memcpy(store + kept, ", ", 2);
    length = kept + 2;
  }
  return (view){store, length + write_address(&client, store + length)};
}

static bool ask(void *request, text name, view *value) {
  return envoy_dynamic_module_callback_early_header_mutation_get_header_value(request, name, value, 0, NULL) &&
         value->at;
}

void divertor_proxies_apply(const struct proxies *proxies, void *request) {
  static __thread char store[MAX_FORWARDED];
  view peer, forwarded, proto;
  if (!ask(request, PEER, &peer)) peer = (view){"", 0};
  bool trusted = divertor_trusted(proxies, peer);
  if (!ask(request, FORWARDED, &forwarded)) forwarded = (view){"", 0};
  view found = divertor_forwarded(proxies, peer, forwarded, store);
  envoy_dynamic_module_callback_early_header_mutation_set_header(request, FORWARDED, found);
  bool told = trusted && ask(request, PROTO, &proto) && (same(proto, HTTP) || same(proto, HTTPS));
  if (!told)
    envoy_dynamic_module_callback_early_header_mutation_set_header(request, PROTO, proxies->secure ? HTTPS : HTTP);
}
