// Summarises a JSON document. The bindings, `plugin_step.h`, are wit-bindgen's.
// Built with -DNAME='"..."', and with -DWASI where it is to use the clock and the randomness of WASI.
#include "plugin_step.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef WASI
#include <time.h>
#include <unistd.h>
#endif

static const char INPUT_SCHEMA[] = {
#embed "../input.schema.json" suffix(, 0)
};
static const char OUTPUT_SCHEMA[] = {
#embed "../output.schema.json" suffix(, 0)
};

enum { NUL, BOOLEAN, NUMBER, STRING, ARRAY, OBJECT, TYPES };

// Member names as they stand in the input: it is canonical JSON, so equal names are equal bytes.
typedef struct {
  const uint8_t *ptr;
  size_t len;
} name_t;

typedef struct {
  const uint8_t *at; // the next byte; the host has checked the input, so it never runs over the end
  size_t types[TYPES], depth, names, longest;
  name_t *table; // open addressing, a power of two, at most half full
  size_t table_size;
  uint64_t seed;
} summary_t;

// Where a name is in the table, or the free place for it.
static name_t *place(summary_t *s, name_t name) {
  uint64_t hash = 0xcbf29ce484222325 ^ s->seed;
  for (size_t i = 0; i < name.len; i++) hash = (hash ^ name.ptr[i]) * 0x100000001b3;
  size_t at = (hash ^ hash >> 32) & (s->table_size - 1);
  while (s->table[at].ptr && (s->table[at].len != name.len || memcmp(s->table[at].ptr, name.ptr, name.len)))
    at = (at + 1) & (s->table_size - 1);
  return &s->table[at];
}

static void resize(summary_t *s, size_t size) {
  name_t *old = s->table;
  size_t old_size = s->table_size;
  s->table = calloc(size, sizeof *s->table);
  if (!s->table) abort();
  s->table_size = size;
  for (size_t i = 0; i < old_size; i++)
    if (old[i].ptr) *place(s, old[i]) = old[i];
  free(old);
}

// Reads a string and returns how many characters it has.
static size_t string(summary_t *s, name_t *raw) {
  size_t length = 0;
  raw->ptr = ++s->at;
  for (; *s->at != '"'; s->at++) {
    if (*s->at == '\\') {
      s->at += s->at[1] == 'u' ? 5 : 1; // canonical JSON escapes control characters only
      length++;
    } else if ((*s->at & 0xc0) != 0x80) {
      length++; // not a continuation byte of UTF-8
    }
  }
  raw->len = (size_t)(s->at++ - raw->ptr);
  return length;
}

// Counts a value and what is in it, and returns how deep it is. The host lets no document through that is deeper than 128.
static size_t look(summary_t *s) {
  size_t deepest = 0;
  name_t raw;
  uint8_t first = *s->at;
  if (first == '"') {
    s->types[STRING]++;
    size_t length = string(s, &raw);
    if (length > s->longest) s->longest = length;
  } else if (first == '{' || first == '[') {
    s->types[first == '{' ? OBJECT : ARRAY]++;
    s->at++;
    while (*s->at != '}' && *s->at != ']') {
      if (*s->at == ',') s->at++;
      if (first == '{') {
        string(s, &raw);
        s->at++; // the colon
        name_t *found = place(s, raw);
        if (!found->ptr) {
          *found = raw;
          if (++s->names * 2 > s->table_size) resize(s, s->table_size * 2);
        }
      }
      size_t depth = look(s);
      if (depth > deepest) deepest = depth;
    }
    s->at++;
  } else {
    s->types[first == 'n' ? NUL : first == 't' || first == 'f' ? BOOLEAN : NUMBER]++;
    while (!strchr(",]}", *s->at)) s->at++;
  }
  return deepest + 1;
}

void exports_stepseal_plugin_step_describe(exports_stepseal_plugin_step_descriptor_t *ret) {
  plugin_step_string_dup(&ret->name, NAME);
  plugin_step_string_dup(&ret->version, "0.1.0");
  plugin_step_string_dup(&ret->summary, "Summarises a JSON document.");
  ret->steps.len = 1;
  ret->steps.ptr = malloc(sizeof *ret->steps.ptr);
  plugin_step_string_dup(&ret->steps.ptr->name, "summarise");
  plugin_step_string_dup(&ret->steps.ptr->summary,
                         "Counts values by type and member names, and finds the depth and the longest string.");
  plugin_step_string_dup(&ret->steps.ptr->input_schema, INPUT_SCHEMA);
  plugin_step_string_dup(&ret->steps.ptr->output_schema, OUTPUT_SCHEMA);
}

bool exports_stepseal_plugin_step_run(exports_stepseal_plugin_step_invocation_t *call,
                                      exports_stepseal_plugin_step_json_t *ret,
                                      exports_stepseal_plugin_step_failure_t *err) {
  (void)err;
  summary_t s = {.at = call->input.ptr + strlen("{\"document\":")};
#ifdef WASI
  struct timespec now;
  if (getentropy(&s.seed, sizeof s.seed) != 0 || clock_gettime(CLOCK_REALTIME, &now) != 0) abort();
  fprintf(stderr, "it is %lld.%09ld, and names are hashed under %016llx\n", (long long)now.tv_sec, now.tv_nsec,
          (unsigned long long)s.seed);
#endif
  resize(&s, 16);
  s.depth = look(&s);
  char json[512];
  size_t *t = s.types;
  int length = snprintf(json, sizeof json,
                        "{\"types\":{\"null\":%zu,\"boolean\":%zu,\"number\":%zu,\"string\":%zu,\"array\":%zu,\"object\":%zu},"
                        "\"depth\":%zu,\"keys\":%zu,\"longest_string\":%zu}",
                        t[NUL], t[BOOLEAN], t[NUMBER], t[STRING], t[ARRAY], t[OBJECT], s.depth, s.names, s.longest);
  plugin_step_string_dup_n(ret, json, (size_t)length);
  free(s.table);
  exports_stepseal_plugin_step_invocation_free(call);
  return true;
}
