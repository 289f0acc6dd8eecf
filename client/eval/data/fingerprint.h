#ifndef PRECIS_CLIENT_EVAL_DATA_FINGERPRINT_H_
#define PRECIS_CLIENT_EVAL_DATA_FINGERPRINT_H_

#include <memory>
#include <string>
#include <string_view>

namespace precis::eval {

// SHA-256 of a sequence of texts, each with its length, so that ("ab", "c") and ("a", "bc") differ. Not thread-safe.
class Fingerprint {
 public:
  Fingerprint();
  ~Fingerprint();
  Fingerprint(const Fingerprint&) = delete;
  Fingerprint& operator=(const Fingerprint&) = delete;

  Fingerprint& Add(std::string_view text);
  std::string Hex();  // the first 128 bits; once, last

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace precis::eval

#endif  // PRECIS_CLIENT_EVAL_DATA_FINGERPRINT_H_
