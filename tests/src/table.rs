//! A table in Markdown with aligned columns, so that it reads as well in a terminal.

/// Writes it.
pub fn markdown<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; N]| {
        let cells = cells.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(&header.map(str::to_owned));
    text.push_str(&line(&widths.map(|width| "-".repeat(width))));
    text.extend(rows.iter().map(line));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = markdown(["a", "b"], &[["x → y".to_owned(), "1".to_owned()]]);
        assert_eq!(text, "| a     | b |\n| ----- | - |\n| x → y | 1 |\n");
    }
}
