-- `fgc lsp` and colours for .fg files, for Neovim 0.7 and newer.
--
-- vim.g.fgc_path names the program if it is not in PATH.
local M = {}

-- The repository a file is in, else the nearest folder above with presets, else the file's own.
local function root(file)
  local folder = vim.fn.fnamemodify(file, ':p:h')
  for _, mark in ipairs({ '.git', 'presets' }) do
    local found = vim.fn.finddir(mark, vim.fn.fnameescape(folder) .. ';')
    if found ~= '' then
      return vim.fn.fnamemodify(found, ':p:h:h')
    end
  end
  return folder
end

-- Clients of Neovim 0.7, which does not look for a running one itself, by root.
local started = {}

-- Starts the server for a buffer, or uses one that runs in the same folder.
function M.attach(buffer)
  local program = vim.g.fgc_path or 'fgc'
  if vim.fn.executable(program) == 0 then
    vim.notify(program .. ' is not installed: no language server for .fg', vim.log.levels.WARN)
    return
  end
  buffer = buffer == 0 and vim.api.nvim_get_current_buf() or buffer
  local config = { name = 'fgc', cmd = { program, 'lsp' }, root_dir = root(vim.api.nvim_buf_get_name(buffer)) }
  if vim.lsp.start then
    vim.lsp.start(config, { bufnr = buffer })
    return
  end
  local id = started[config.root_dir]
  if not (id and vim.lsp.get_client_by_id(id)) then
    id = vim.lsp.start_client(config)
    started[config.root_dir] = id
  end
  if id then
    vim.lsp.buf_attach_client(buffer, id)
  end
end

-- Colours by the tree-sitter grammar, where its parser has been built (see docs/editors.md).
function M.highlight(buffer)
  if #vim.api.nvim_get_runtime_file('parser/fg.so', false) == 0 then
    return
  end
  if vim.treesitter.start then
    vim.treesitter.start(buffer, 'fg')
  else
    vim.treesitter.highlighter.new(vim.treesitter.get_parser(buffer, 'fg'))
  end
end

return M
