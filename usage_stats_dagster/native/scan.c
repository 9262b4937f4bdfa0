/* The loops over bytes behind the reading of logs: where lines are, what their fields are, which strings are equal.

   What belongs here: loops that numpy and Polars need many passes over memory for. What does not: any meaning of a field.
   `scan.py` calls these functions and names for each what stands in for it where this was not compiled; tests hold the two
   equal.

   Plain C without Python's headers, called through ctypes, which lets go of the interpreter's lock: blocks are scanned side
   by side. A block is read up to 64 bytes behind its end: the caller pads it (lines.PADDING).
   Change SCAN_VERSION here and in scan.py whenever a signature or a result changes. */

#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define SCAN_VERSION 3
#define LONGEST_WORD 64
#define LONGEST_LINE (1 << 20)
#define TIME_LENGTH 29 /* "[01/Mar/2025:00:00:00 +0000] " */
#define MOST_QUOTES 8
#define LANES 64
#define AHEAD 32

#if defined(__GNUC__)
#define PREFETCH(at) __builtin_prefetch(at)
#else
#define PREFETCH(at) ((void)(at))
#endif

/* Arrow's string view: 12 bytes or fewer stand in it, of more the first four and the place. */
typedef struct {
  uint32_t length;
  union {
    uint8_t inlined[12];
    struct {
      uint8_t prefix[4];
      uint32_t buffer, offset;
    } far;
  } at;
} View;

int32_t scan_version(void) { return SCAN_VERSION; }

static inline uint64_t word8(const uint8_t *p) {
  uint64_t w;
  memcpy(&w, p, 8);
  return w;
}

static inline View view(const uint8_t *data, int64_t begin, int64_t end) {
  View v;
  memset(&v, 0, sizeof v);
  v.length = (uint32_t)(end - begin);
  if (v.length <= 12) {
    memcpy(v.at.inlined, data + begin, v.length);
  } else {
    memcpy(v.at.far.prefix, data + begin, 4);
    v.at.far.offset = (uint32_t)begin;
  }
  return v;
}

static inline const uint8_t *text_of(const View *v, const uint8_t *const *buffers) {
  return v->length <= 12 ? v->at.inlined : buffers[v->at.far.buffer] + v->at.far.offset;
}

/* Line ends in [data, data + end), and in `high` whether a byte is not ASCII. Counted in lanes of a byte, 255 times at most,
   which compilers make vectors of. */
int64_t scan_count_lines(const uint8_t *data, int64_t end, int32_t *high) {
  int64_t found = 0, i = 0;
  uint8_t above = 0;
  while (i + LANES <= end) {
    uint8_t counts[LANES] = {0}, seen[LANES] = {0};
    for (int round = 0; round < 255 && i + LANES <= end; round++, i += LANES)
      for (int lane = 0; lane < LANES; lane++) {
        counts[lane] += data[i + lane] == '\n';
        seen[lane] |= data[i + lane];
      }
    for (int lane = 0; lane < LANES; lane++) {
      found += counts[lane];
      above |= seen[lane];
    }
  }
  for (; i < end; i++) {
    found += data[i] == '\n';
    above |= data[i];
  }
  *high = above >> 7;
  return found;
}

/* Where the lines of [data, data + end) begin and end, LF or CRLF taken off; there are scan_count_lines of them, and one
   more when the last has no line end. A line without its end keeps a CR. Returns how many they are; -1 for more than `most`. */
int64_t scan_lines(const uint8_t *data, int64_t end, int64_t *starts, int64_t *ends, int64_t most) {
  int64_t count = 0;
  for (int64_t s = 0; s < end; count++) {
    if (count == most) return -1;
    const uint8_t *found = memchr(data + s, '\n', (size_t)(end - s));
    int64_t e = found ? found - data : end;
    starts[count] = s;
    s = e + 1;
    ends[count] = found && e > starts[count] && data[e - 1] == '\r' ? e - 1 : e;
  }
  return count;
}

/* The text between each pair of places as views with one buffer, the block. */
void scan_views(const uint8_t *data, const int64_t *starts, const int64_t *ends, int64_t n, View *views) {
  for (int64_t i = 0; i < n; i++) views[i] = view(data, starts[i], ends[i]);
}

/* Where the next quote, backslash or tab is; `end` when there is none before it. */
static inline int64_t next_mark(const uint8_t *data, int64_t i, int64_t end) {
#if defined(__SSE2__)
  const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), tab = _mm_set1_epi8('\t');
  for (; i < end; i += 16) {
    const __m128i c = _mm_loadu_si128((const __m128i *)(data + i));
    const __m128i two = _mm_or_si128(_mm_cmpeq_epi8(c, quote), _mm_cmpeq_epi8(c, backslash));
    const __m128i any = _mm_or_si128(two, _mm_cmpeq_epi8(c, tab));
    const int mask = _mm_movemask_epi8(any);
    if (mask) {
      i += __builtin_ctz((unsigned)mask);
      return i < end ? i : end;
    }
  }
  return end;
#else
  for (; i < end; i++)
    if (data[i] == '"' || data[i] == '\\' || data[i] == '\t') return i;
  return end;
#endif
}

/* A word of ASCII from `-` on in the code table: no blank, quote or comma; not empty, not very long. */
static inline int is_plain(const uint8_t *data, int64_t begin, int64_t end) {
  if (end <= begin || end - begin > LONGEST_WORD) return 0;
  for (int64_t i = begin; i < end; i++)
    if (data[i] < '-' || data[i] > 0x7F) return 0;
  return 1;
}

static const char *const METHODS[] = {"GET ", "POST ", "HEAD ", "OPTIONS ", "PUT ", "DELETE ", "PATCH "};

static inline int method_of(const uint8_t *at, int64_t *length) {
  for (int m = 0; m < 7; m++) {
    const size_t n = strlen(METHODS[m]);
    if (memcmp(at, METHODS[m], n) == 0) {
      *length = (int64_t)n;
      return m;
    }
  }
  return -1;
}

/* Length of ` HTTP/x` at the end of a request that ends at `end`; 0 for another protocol. */
static inline int64_t protocol_length(const uint8_t *data, int64_t end) {
  const uint8_t *p = data + end;
  if (memcmp(p - 9, " HTTP/1.1", 9) == 0 || memcmp(p - 9, " HTTP/1.0", 9) == 0 || memcmp(p - 9, " HTTP/2.0", 9) == 0 ||
      memcmp(p - 9, " HTTP/3.0", 9) == 0)
    return 9;
  return memcmp(p - 7, " HTTP/2", 7) == 0 || memcmp(p - 7, " HTTP/3", 7) == 0 ? 7 : 0;
}

/* Cuts one line, [s, e), with its quotes at q; 1 when it is as usual (`formats/cut.py` says what that is). */
static inline int cut_line(const uint8_t *data, int64_t s, int64_t e, const int64_t *q, int named, int dashes, int quotes,
                           View *const *texts, int64_t *time, uint8_t *method, int16_t *status) {
  const int64_t t = q[0] - TIME_LENGTH;
  const int64_t head = t - (dashes == 2 ? 5 : 3); /* ` - - ` or ` - ` */
  if (head <= s || data[t] != '[' || data[q[0] - 2] != ']' || data[q[0] - 1] != ' ') return 0;
  if (memcmp(data + head, " - - ", dashes == 2 ? 5 : 2) != 0 || data[t - 1] != ' ') return 0;
  int64_t blank = head;
  if (named == 2) {
    const uint8_t *found = memchr(data + s, ' ', (size_t)(head - s));
    if (!found) return 0;
    blank = found - data;
    if (data[blank + 1] == '-' || !is_plain(data, blank + 1, head)) return 0;
  }
  if (data[s] == '-' || !is_plain(data, s, blank)) return 0;

  int64_t length = 0;
  const int m = method_of(data + q[0] + 1, &length);
  const int64_t from = q[0] + 1 + length, protocol = protocol_length(data, q[1]), to = q[1] - protocol;
  if (m < 0 || !protocol || to <= from || data[from] == ' ' || data[to - 1] == ' ') return 0;

  const uint8_t *behind = data + q[1] + 1; /* ` 200 1234` */
  if (behind[0] != ' ' || behind[4] != ' ') return 0;
  int code = 0;
  for (int i = 1; i <= 3; i++) {
    if (behind[i] < '0' || behind[i] > '9') return 0;
    code = code * 10 + behind[i] - '0';
  }
  const int64_t size = q[1] + 6;
  if (quotes == 2) {
    if (size >= e || data[size] == ' ') return 0;
  } else {
    if (data[q[2] - 1] != ' ' || !is_plain(data, size, q[2] - 1)) return 0;
    for (int i = 3; i < quotes - 1; i += 2)
      if (q[i + 1] != q[i] + 2 || data[q[i] + 1] != ' ') return 0;
    if (q[quotes - 1] + 1 != e && data[q[quotes - 1] + 1] != ' ') return 0;
  }

  int k = 0;
  *texts[k++] = view(data, s, blank);
  if (named == 2) *texts[k++] = view(data, blank + 1, head);
  *texts[k++] = view(data, from, to);
  for (int i = 2; i < quotes; i += 2) *texts[k++] = view(data, q[i] + 1, q[i + 1]);
  *time = t + 1;
  *method = (uint8_t)m;
  *status = (int16_t)code;
  return 1;
}

/* Of n lines those that are as usual, their row in `rows` and their fields in the columns behind it. `texts`: named + 1 +
   (quotes - 2) / 2 columns of views: words, path, quoted fields. `seconds`: which of the times that begin at `times` is the
   line's; a time is there again only after another. Returns how many lines, and in `changes` how many times. */
int64_t scan_apache(const uint8_t *data, const int64_t *starts, const int64_t *ends, int64_t n, int32_t named, int32_t dashes,
                    int32_t quotes, int64_t *rows, View *const *texts, uint8_t *method, int16_t *status, uint32_t *seconds,
                    int64_t *times, int64_t *changes) {
  const int columns = named + 1 + (quotes - 2) / 2;
  int64_t usual = 0, seen = 0;
  for (int64_t line = 0; line < n; line++) {
    const int64_t s = starts[line], e = ends[line];
    int64_t q[MOST_QUOTES], time;
    int found = 0, odd = e - s > LONGEST_LINE;
    for (int64_t i = next_mark(data, s, e); i < e && !odd; i = next_mark(data, i + 1, e)) {
      if (data[i] != '"') odd = 1;
      else if (found < quotes) q[found++] = i;
    }
    if (odd || found < quotes || q[0] - s <= TIME_LENGTH) continue;
    View *at[MOST_QUOTES];
    for (int c = 0; c < columns; c++) at[c] = texts[c] + usual;
    if (!cut_line(data, s, e, q, named, dashes, quotes, at, &time, method + usual, status + usual)) continue;
    if (!seen || memcmp(data + times[seen - 1], data + time, TIME_LENGTH - 3) != 0) times[seen++] = time;
    seconds[usual] = (uint32_t)(seen - 1);
    rows[usual++] = line;
  }
  *changes = seen;
  return usual;
}

static inline uint64_t mixed(uint64_t h) {
  h ^= h >> 32;
  h *= 0x9E3779B97F4A7C15u;
  return h ^ h >> 29;
}

static inline uint64_t hash_of(const uint8_t *p, uint32_t n, uint64_t seed) {
  uint64_t h = seed ^ n, w;
  for (; n >= 8; n -= 8, p += 8) h = mixed(h ^ word8(p));
  w = 0;
  memcpy(&w, p, n);
  return mixed(h ^ w) * 0xD6E8FEB86659FD93u;
}

/* The number of a string that was not there yet: row i is its first, and `slot` its place in the table. */
static inline uint32_t new_code(int64_t i, int64_t *distinct, uint32_t *firsts, uint32_t *slot) {
  firsts[*distinct] = (uint32_t)i;
  *slot = (uint32_t)(*distinct + 1);
  return (uint32_t)(*distinct)++;
}

#define IS_NULL(i) (valid && !(valid[(valid_from + (i)) >> 3] >> ((valid_from + (i)) & 7) & 1))

/* Numbers the distinct strings of a column in the order in which they come: `codes` a row, `firsts` the row of each.
   A row whose bit of `valid` is 0 is null and has no number (UINT32_MAX); no `valid`, no nulls. `table`: `mask` + 1 zeros, a
   power of two, at least twice n. `seed`: any number that who writes the strings can't know, so that nobody can have all of
   theirs in one place of the table; no result depends on it. Returns how many are distinct. */
int64_t scan_codes(const View *views, int64_t n, const uint8_t *const *buffers, const uint8_t *valid, int64_t valid_from,
                   uint32_t *codes, uint32_t *firsts, uint32_t *table, uint64_t mask, uint64_t seed) {
  int64_t distinct = 0;
  uint64_t hashes[AHEAD];
  for (int64_t from = 0; from < n; from += AHEAD) {
    const int rows = n - from < AHEAD ? (int)(n - from) : AHEAD;
    /* What a row will be compared with lies anywhere: it is asked for some rows before it is looked at. */
    for (int r = 0; r < rows; r++) {
      const View *v = views + from + r;
      hashes[r] = IS_NULL(from + r) ? 0 : hash_of(text_of(v, buffers), v->length, seed) >> 20;
      PREFETCH(table + (hashes[r] & mask));
    }
    for (int r = 0; r < rows; r++) {
      const uint32_t known = table[hashes[r] & mask];
      if (known) PREFETCH(views + firsts[known - 1]);
    }
    for (int r = 0; r < rows; r++) {
      const uint32_t known = table[hashes[r] & mask];
      if (known) PREFETCH(text_of(views + firsts[known - 1], buffers));
    }
    for (int r = 0; r < rows; r++) {
      const int64_t i = from + r;
      if (IS_NULL(i)) {
        codes[i] = UINT32_MAX;
        continue;
      }
      const View *v = views + i;
      const uint8_t *text = text_of(v, buffers);
      for (uint64_t h = hashes[r];; h++) {
        const uint32_t known = table[h & mask];
        if (!known) {
          codes[i] = new_code(i, &distinct, firsts, table + (h & mask));
          break;
        }
        const View *other = views + firsts[known - 1];
        if (other->length == v->length && memcmp(text_of(other, buffers), text, v->length) == 0) {
          codes[i] = known - 1;
          break;
        }
      }
    }
  }
  return distinct;
}

/* The same for numbers of 64 bits. */
int64_t scan_codes64(const uint64_t *values, int64_t n, uint32_t *codes, uint32_t *firsts, uint32_t *table, uint64_t mask,
                     uint64_t seed) {
  int64_t distinct = 0;
  for (int64_t i = 0; i < n; i++) {
    for (uint64_t h = mixed(mixed(values[i] ^ seed)) >> 20;; h++) {
      const uint32_t known = table[h & mask];
      if (!known) {
        codes[i] = new_code(i, &distinct, firsts, table + (h & mask));
        break;
      }
      if (values[firsts[known - 1]] == values[i]) {
        codes[i] = known - 1;
        break;
      }
    }
  }
  return distinct;
}
