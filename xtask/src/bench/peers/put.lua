-- each connection writes keys of its own, a hundred of them in turn
local thread = 0
function setup(t) t:set("id", thread); thread = thread + 1 end
function init() n = 0; value = string.rep("v", 100) end
function request()
  n = n + 1
  return wrk.format("PUT", "/v1/kv/bench/put/" .. id .. "/" .. (n % 6400), nil, value .. n)
end
