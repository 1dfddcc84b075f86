#include "keys.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static uint64_t rotate(uint64_t word, int by) { return (word << by) | (word >> (64 - by)); }

static void round_of(uint64_t v[4]) {
  v[0] += v[1];
  v[1] = rotate(v[1], 13) ^ v[0];
  v[0] = rotate(v[0], 32);
  v[2] += v[3];
  v[3] = rotate(v[3], 16) ^ v[2];
  v[0] += v[3];
  v[3] = rotate(v[3], 21) ^ v[0];
  v[2] += v[1];
  v[1] = rotate(v[1], 17) ^ v[2];
  v[2] = rotate(v[2], 32);
}

/* Little endian whatever the machine. */
static uint64_t word_at(const unsigned char *at, size_t bytes) {
  uint64_t word = 0;
  for (size_t i = 0; i < bytes; i++) word |= (uint64_t)at[i] << (8 * i);
  return word;
}

/* The same of eight bytes, which compilers turn into one load. */
static uint64_t whole_word_at(const unsigned char *at) {
  return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24 |
         (uint64_t)at[4] << 32 | (uint64_t)at[5] << 40 | (uint64_t)at[6] << 48 | (uint64_t)at[7] << 56;
}

uint64_t divertor_fingerprint(uint64_t k0, uint64_t k1, const char *at, size_t length) {
  const unsigned char *bytes = (const unsigned char *)at;
  size_t n = length < MAX_VALUE ? length : MAX_VALUE;
  uint64_t v[4] = {k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL, k0 ^ 0x6c7967656e657261ULL,
                   k1 ^ 0x7465646279746573ULL};
  size_t done = 0;
  for (; n - done >= 8; done += 8) {
    uint64_t word = whole_word_at(bytes + done);
    v[3] ^= word;
    round_of(v);
    v[0] ^= word;
  }
  uint64_t last = word_at(bytes + done, n - done) | (uint64_t)(n & 0xff) << 56;
  v[3] ^= last;
  round_of(v);
  v[0] ^= last;
  v[2] ^= 0xff;
  round_of(v);
  round_of(v);
  round_of(v);
  uint64_t digest = v[0] ^ v[1] ^ v[2] ^ v[3];
  return digest ? digest : 1; /* 0 marks an empty slot */
}

static bool blank(char c) { return c == ' ' || c == '\t'; }

/* What Unicode calls white space, in UTF-8 and (the last two) in Latin-1; JavaScript adds U+FEFF. */
static const char *const spaces[] = {
    "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84",
    "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a",
    "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80", "\xef\xbb\xbf",
    "\xc2\x85",     "\xc2\xa0",     "\x85",         "\xa0",
};

/* Bytes of white space at the start or the end; 0: none. */
static size_t space(view text, bool end) {
  if (text.length == 0) return 0;
  char edge = end ? text.at[text.length - 1] : text.at[0];
  if (blank(edge)) return 1;
  if ((unsigned char)edge < 0x80) return 0;
  for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
    size_t length = strlen(spaces[i]);
    if (length <= text.length && memcmp(end ? text.at + text.length - length : text.at, spaces[i], length) == 0)
      return length;
  }
  return 0;
}

view divertor_trimmed(view text) {
  size_t length;
  while ((length = space(text, false))) text.at += length, text.length -= length;
  while ((length = space(text, true))) text.length -= length;
  return text;
}

static view bounded(view value) {
  if (value.length > MAX_VALUE) value.length = MAX_VALUE;
  return value;
}

static bool octal(char c, char most) { return c >= '0' && c <= most; }

static view canonical(view value, char *store) {
  if (value.length < 2 || value.at[0] != '"' || value.at[value.length - 1] != '"') return bounded(value);
  view inner = {value.at + 1, value.length - 2};
  if (inner.length == 0 || !memchr(inner.at, '\\', inner.length)) return bounded(inner);
  size_t kept = 0;
  for (size_t i = 0; i < inner.length && kept < MAX_VALUE; i++) {
    char c = inner.at[i];
    if (c == '\\' && i + 3 < inner.length && octal(inner.at[i + 1], '3') && octal(inner.at[i + 2], '7') &&
        octal(inner.at[i + 3], '7')) {
      c = (char)((inner.at[i + 1] - '0') * 64 + (inner.at[i + 2] - '0') * 8 + (inner.at[i + 3] - '0'));
      i += 3;
    } else if (c == '\\' && i + 1 < inner.length) {
      c = inner.at[++i];
    }
    store[kept++] = c;
  }
  return (view){store, kept};
}

static int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* With %XX and + resolved, as in a URL. */
static view decoded(view text, char *store) {
  size_t kept = 0;
  for (size_t i = 0; i < text.length && kept < MAX_VALUE; i++) {
    char c = text.at[i];
    if (c == '%' && text.length - i > 2 && digit(text.at[i + 1]) >= 0 && digit(text.at[i + 2]) >= 0) {
      c = (char)(digit(text.at[i + 1]) * 16 + digit(text.at[i + 2]));
      i += 2;
    } else if (c == '+') {
      c = ' ';
    }
    store[kept++] = c;
  }
  return (view){store, kept};
}

static bool same(view one, view other) {
  return one.length == other.length && memcmp(one.at, other.at, one.length) == 0;
}

/* Up to the closing quote, or to a blank or comma. */
static view cut(view value) {
  bool quoted = value.at[0] == '"';
  for (size_t i = quoted ? 1 : 0; i < value.length; i++) {
    char c = value.at[i];
    if (quoted && c == '\\') i++;
    else if (quoted && c == '"') return (view){value.at, i + 1};
    else if (!quoted && (blank(c) || c == ',')) return (view){value.at, i};
  }
  return value;
}

bool divertor_is_plain(view value) {
  for (size_t i = 0; i < value.length; i++) {
    char c = value.at[i];
    if (c == '%' || c == '+' || c == ',' || c == '"' || blank(c)) return false;
  }
  return true;
}

bool divertor_reading(view value, int which, char *store, view *reading) {
  *reading = value;
  if (which == 0 || value.length == 0) return which == 0 && value.length != 0;
  *reading = which == 1 ? decoded(value, store) : canonical(cut(value), store);
  return reading->length != 0 && !same(*reading, value);
}

/* Where the cookie that begins at `from` ends. */
static size_t end_of(view header, size_t from) {
  const char *stop = from < header.length ? memchr(header.at + from, ';', header.length - from) : NULL;
  return stop ? (size_t)(stop - header.at) : header.length;
}

/* Whether the word that ends at `end` is `name`. */
static bool named(view header, size_t end, view name) {
  while (end && blank(header.at[end - 1])) end--;
  size_t start = end;
  while (start && !blank(header.at[start - 1]) && !memchr(";,=\"", header.at[start - 1], 4)) start--;
  view word = divertor_trimmed((view){header.at + start, end - start});
  if (same(word, name)) return true;
  char store[MAX_VALUE];
  return word.length > name.length && memchr(word.at, '%', word.length) && same(decoded(word, store), name);
}

bool divertor_next_cookie(view header, view name, size_t *from, char *store, view *value) {
  while (*from < header.length) {
    const char *equals = memchr(header.at + *from, '=', header.length - *from);
    if (!equals) break;
    size_t at = (size_t)(equals - header.at);
    *from = at + 1;
    if (!named(header, at, name)) continue;
    *value = canonical(divertor_trimmed((view){equals + 1, end_of(header, at + 1) - at - 1}), store);
    if (value->length) return true;
  }
  *from = header.length;
  return false;
}

bool divertor_set_cookie(view header, char *store, view *name, view *value) {
  size_t stop = end_of(header, 0);
  const char *equals = stop ? memchr(header.at, '=', stop) : NULL;
  if (!equals) return false;
  size_t at = (size_t)(equals - header.at);
  *name = divertor_trimmed((view){header.at, at});
  *value = canonical(divertor_trimmed((view){equals + 1, stop - at - 1}), store);
  return name->length != 0 && value->length != 0;
}

view divertor_address(view address) {
  static const char mapped[] = "::ffff:";
  size_t length = sizeof mapped - 1;
  if (address.length <= length || memcmp(address.at, mapped, length) != 0) return address;
  if (!memchr(address.at, '.', address.length)) return address;
  return (view){address.at + length, address.length - length};
}

static const unsigned char MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

view divertor_network(view address, const int bits[2], char *store) {
  char plain[INET6_ADDRSTRLEN], shown[INET6_ADDRSTRLEN];
  unsigned char bytes[16];
  if (address.length == 0 || address.length >= sizeof plain) return (view){NULL, 0};
  memcpy(plain, address.at, address.length);
  plain[address.length] = 0;
  int six = memchr(plain, ':', address.length) != NULL, length = six ? 16 : 4;
  if (inet_pton(six ? AF_INET6 : AF_INET, plain, bytes) != 1) return (view){NULL, 0};
  if (six && memcmp(bytes, MAPPED, sizeof MAPPED) == 0) {
    memcpy(bytes, bytes + sizeof MAPPED, 4);
    six = 0, length = 4;
  }
  for (int i = 0; i < length; i++) {
    int kept = bits[six] - 8 * i;
    if (kept < 8) bytes[i] &= (unsigned char)(kept <= 0 ? 0 : 0xff << (8 - kept));
  }
  if (!inet_ntop(six ? AF_INET6 : AF_INET, bytes, shown, sizeof shown)) return (view){NULL, 0};
  int written = snprintf(store, MAX_NETWORK, "%s/%d", shown, bits[six]);
  return (view){store, written > 0 ? (size_t)written : 0};
}
