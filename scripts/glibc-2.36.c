// What a Swift toolchain that was built for glibc 2.38 (Ubuntu 24.04) wants of the C library, for
// Debian 12, which has 2.36. scripts/release-flags links it where the static Swift library asks for
// these names and the system hasn't got them.

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// C23 reads "0b101" as binary, which is all that these differ in; nobody here relies on it.
long __isoc23_strtol(const char *text, char **end, int base) { return strtol(text, end, base); }

long long __isoc23_strtoll(const char *text, char **end, int base) {
    return strtoll(text, end, base);
}

unsigned long __isoc23_strtoul(const char *text, char **end, int base) {
    return strtoul(text, end, base);
}

unsigned long long __isoc23_strtoull(const char *text, char **end, int base) {
    return strtoull(text, end, base);
}

int __isoc23_sscanf(const char *text, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int count = vsscanf(text, format, values);
    va_end(values);
    return count;
}

size_t strlcpy(char *to, const char *from, size_t size) {
    size_t length = strlen(from);
    if (size > 0) {
        size_t count = length < size ? length : size - 1;
        memcpy(to, from, count);
        to[count] = '\0';
    }
    return length;
}
