#ifndef PRECIS_CLIENT_CLI_TABLE_H_
#define PRECIS_CLIENT_CLI_TABLE_H_

#include <string>
#include <vector>

namespace precis::cli {

// Aligned columns; cells that are all numbers go to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string ToString() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "1.5 GiB", "640 B".
std::string FormatBytes(double bytes);

}  // namespace precis::cli

#endif  // PRECIS_CLIENT_CLI_TABLE_H_
