#include "keys.h"

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

uint64_t divertor_fingerprint(uint64_t k0, uint64_t k1, const char *at, size_t length) {
  const unsigned char *bytes = (const unsigned char *)at;
  size_t n = length < MAX_VALUE ? length : MAX_VALUE;
  uint64_t v[4] = {k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL, k0 ^ 0x6c7967656e657261ULL,
                   k1 ^ 0x7465646279746573ULL};
  size_t done = 0;
  for (; n - done >= 8; done += 8) {
    uint64_t word = word_at(bytes + done, 8);
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

static view trimmed(const char *at, size_t length) {
  while (length && blank(*at)) at++, length--;
  while (length && blank(at[length - 1])) length--;
  return (view){at, length};
}

static bool octal(char c, char most) { return c >= '0' && c <= most; }

static view canonical(view value, char *store) {
  if (value.length < 2 || value.at[0] != '"' || value.at[value.length - 1] != '"') return value;
  view inner = {value.at + 1, value.length - 2};
  if (inner.length == 0 || !memchr(inner.at, '\\', inner.length)) return inner;
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

/* Where the cookie that begins at `from` ends: at a semicolon outside quotes, or at the header's end. */
static size_t end_of(view header, size_t from) {
  const char *stop = from < header.length ? memchr(header.at + from, ';', header.length - from) : NULL;
  return stop ? (size_t)(stop - header.at) : header.length;
}

/* Splits `name=value` and trims both. */
static bool split(const char *at, size_t length, view *name, view *value) {
  const char *equals = length ? memchr(at, '=', length) : NULL;
  if (!equals) return false;
  *name = trimmed(at, (size_t)(equals - at));
  *value = trimmed(equals + 1, length - (size_t)(equals - at) - 1);
  return true;
}

bool divertor_next_cookie(view header, view name, size_t *from, char *store, view *value) {
  while (*from < header.length) {
    size_t start = *from, stop = end_of(header, start);
    *from = stop + 1;
    view found, raw;
    if (!split(header.at + start, stop - start, &found, &raw)) continue;
    if (found.length != name.length || memcmp(found.at, name.at, name.length) != 0) continue;
    *value = canonical(raw, store);
    if (value->length) return true;
  }
  return false;
}

bool divertor_set_cookie(view header, char *store, view *name, view *value) {
  view raw;
  if (!split(header.at, end_of(header, 0), name, &raw)) return false;
  *value = canonical(raw, store);
  return name->length != 0 && value->length != 0;
}

view divertor_address(view text) {
  if (text.length && text.at[0] == '[') {
    const char *close = memchr(text.at, ']', text.length);
    if (close) return (view){text.at + 1, (size_t)(close - text.at) - 1};
  }
  for (size_t i = text.length; i > 0; i--)
    if (text.at[i - 1] == ':') return (view){text.at, i - 1};
  return text;
}
